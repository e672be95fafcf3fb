//! Answers that are written without HTTP's library, because no request was read.

use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::transport::stream::Transport;

/// How long a client may take to read why its request was refused, and how much of the rest of the request is read
/// meanwhile: unread data would reset the connection before the client has the answer.
pub(crate) const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
const REFUSAL_BYTES_MAX: u64 = 256 * 1024;

/// Sends an answer, and ends the connection.
pub(crate) async fn refuse(mut transport: Transport, response: Response) -> std::io::Result<()> {
    transport.leave_http();
    transport.write_all(&refusal(response).await).await?;
    transport.shutdown().await?;
    tokio::io::copy(&mut transport.take(REFUSAL_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Returns the whole answer, as it is sent.
async fn refusal(response: Response) -> Bytes {
    let (head, body) = response.into_parts();
    // The body of a problem is in memory already.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut answer = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            answer.extend_from_slice(part);
        }
    }
    answer
        .extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer.into()
}

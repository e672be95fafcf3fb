//! Under which names the server answers, and to whom.

mod common;

use common::TestServer;
use order_engine_server::{AllowedHosts, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1.5"}"#;

/// Sends a request with these lines in its head, and returns the status and the body of the answer.
async fn send(server: &TestServer, request: &str, lines: &[&str], body: &str) -> (u16, String) {
    let address = server.url("").replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A page of a foreign name that resolves to this machine is of the server's own origin for its browser.
#[tokio::test]
async fn a_foreign_name_that_resolves_to_this_machine_neither_trades_nor_reads() {
    let server = TestServer::idle().await;
    let rebound = ["Host: evil.example", "Origin: http://evil.example", "Content-Type: application/json"];
    for (request, body) in [
        ("POST /api/orders/execute", ORDER),
        ("POST http://evil.example/api/orders/execute", ORDER),
        ("GET /api/orders", ""),
        ("GET /", ""),
        ("GET /metrics", ""),
        ("OPTIONS /api/orders/execute", ""),
    ] {
        let (status, answer) = send(&server, request, &rebound, body).await;
        assert_eq!(status, 421, "{request}: {answer}");
        assert!(answer.contains("host-not-allowed"), "{answer}");
    }
    assert_eq!(server.count_due().await, 0);
    let own = ["Host: localhost", "Content-Type: application/json"];
    assert_eq!(send(&server, "POST /api/orders/execute", &own, ORDER).await.0, 202);
    assert_eq!(server.count_due().await, 1);
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = TestServer::with(Options { allowed_hosts: any(), ..Options::default() }).await;
    for lines in
        [&[][..], &["Host: localhost", "Host: localhost"], &["Host: alice@localhost"], &["Host: a b"]]
    {
        let (status, answer) = send(&server, "GET /health", lines, "").await;
        assert_eq!(status, 400, "{lines:?}: {answer}");
        assert!(answer.contains("bad-host"), "{answer}");
    }
    assert_eq!(send(&server, "GET /health", &["Host: whatever.example"], "").await.0, 200);
}

fn any() -> AllowedHosts {
    AllowedHosts::parse(&["*".to_owned()]).unwrap()
}

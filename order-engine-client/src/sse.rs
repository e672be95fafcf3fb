//! Server-sent events, as they come in pieces.

/// The largest event. The server's are a few kilobytes.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its own id: unlike a browser's, none of an event before.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// An event is larger than any of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Puts events together.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// What has come of a line.
    line: Vec<u8>,
    message: Message,
    /// The last byte ended a line, and a line feed behind it belongs to the same end.
    is_after_return: bool,
}

impl Parser {
    /// Takes a piece, and returns the events that it completes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<Message>, TooLarge> {
        let mut messages = Vec::new();
        for byte in piece {
            let is_rest_of_end =
                std::mem::replace(&mut self.is_after_return, *byte == b'\r') && *byte == b'\n';
            if is_rest_of_end {
                continue;
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.line.push(*byte);
                if self.line.len() + self.message.data.len() > EVENT_BYTES_MAX {
                    return Err(TooLarge);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            messages.extend(self.take_line(&String::from_utf8_lossy(&line)));
        }
        Ok(messages)
    }

    fn take_line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return (!message.data.is_empty()).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.message.id = Some(value.to_owned()),
            "data" if self.message.data.is_empty() => value.clone_into(&mut self.message.data),
            "data" => {
                self.message.data.push('\n');
                self.message.data.push_str(value);
            }
            // A comment, which keeps the connection alive, or what nobody needs here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_together_from_any_pieces() {
        let text = "retry: 1000\n\n:\n\nid: 1\ndata: {\"a\":1}\n\nid:2\r\ndata: x\r\ndata: é\r\n\r\ndata: r\r\rdata: cut";
        let expected = [
            Message { id: Some("1".into()), data: "{\"a\":1}".into() },
            Message { id: Some("2".into()), data: "x\né".into() },
            Message { id: None, data: "r".into() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<_> =
                text.as_bytes().chunks(size).flat_map(|piece| parser.take(piece).unwrap()).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_cut() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX];
        assert_eq!(parser.take(&piece), Ok(Vec::new()));
        assert_eq!(parser.take(b"x"), Err(TooLarge));
    }
}

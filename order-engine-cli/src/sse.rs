//! Server-sent events, as they come in pieces.

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// Puts events together.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// What has come of a line.
    line: Vec<u8>,
    event: Event,
}

impl Parser {
    /// Takes a piece, and returns the events that it completes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
            if let Some(event) = self.take_line(&line) {
                events.push(event);
            }
        }
        events
    }

    fn take_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "data" if self.event.data.is_empty() => value.clone_into(&mut self.event.data),
            "data" => {
                self.event.data.push('\n');
                self.event.data.push_str(value);
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
        let text =
            "retry: 1000\n\n:\n\nid: 1\ndata: {\"a\":1}\n\nid:2\r\ndata: x\r\ndata: é\r\n\r\ndata: cut";
        let expected = [
            Event { id: Some("1".into()), data: "{\"a\":1}".into() },
            Event { id: Some("2".into()), data: "x\né".into() },
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| parser.take(piece)).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }
}

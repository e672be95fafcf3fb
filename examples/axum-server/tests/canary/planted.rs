//! Secrets that are easy to recognise, and the search for them.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How many bytes of a secret give it away in another form than its own.
const PART: usize = 12;

/// Secrets, and the texts in which none of them may be.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    secrets: Mutex<Vec<(String, String)>>,
    seen: Mutex<Vec<(String, String)>>,
}

impl Planted {
    /// Remembers a secret, and returns it.
    pub(crate) fn plant(&self, what: &str, secret: impl Into<String>) -> String {
        let secret = secret.into();
        assert!(secret.len() >= PART + 2, "{what} is too short to be recognised");
        self.secrets.lock().unwrap().push((what.to_owned(), secret.clone()));
        secret
    }

    /// Makes a secret for a place.
    pub(crate) fn make(&self, place: &str) -> String {
        self.plant(place, format!("canary{:x}{place}0123456789abcdef", place.len()).replace('-', "x"))
    }

    /// Remembers a text that anybody may see.
    pub(crate) fn see(&self, what: impl Into<String>, text: impl Into<String>) {
        self.seen.lock().unwrap().push((what.into(), text.into()));
    }

    /// Returns where a secret is in a text: as it is, in base64, in hexadecimal digits, or as the numbers of its bytes.
    pub(crate) fn found(&self) -> Vec<String> {
        let (secrets, seen) = (self.secrets.lock().unwrap(), self.seen.lock().unwrap());
        let mut found = Vec::new();
        let forms = secrets.iter().flat_map(|(what, secret)| forms(secret).map(|form| (what, form)));
        let forms: Vec<(&String, String)> = forms.collect();
        for (place, text) in &*seen {
            let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            for (what, form) in &forms {
                let Some(at) = flat.find(form) else { continue };
                let before = flat.floor_char_boundary(at.saturating_sub(80));
                let behind = flat.ceil_char_boundary((at + 160).min(flat.len()));
                found.push(format!("{what} is in {place}: …{}…", &flat[before..behind]));
            }
        }
        found
    }

    /// Fails if a secret is in a text.
    pub(crate) fn check(&self) {
        let found = self.found();
        assert!(found.is_empty(), "{}", found.join("\n"));
        let (secrets, texts) = self.counts();
        println!("{secrets} secrets in {texts} texts: none is there");
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.secrets.lock().unwrap().len(), self.seen.lock().unwrap().len())
    }
}

/// Returns how a secret may look, in small letters.
fn forms(secret: &str) -> [String; 5] {
    let part = &secret.as_bytes()[..PART];
    let numbers: Vec<String> = part.iter().map(ToString::to_string).collect();
    let hex = part.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let base64 = STANDARD.encode(part);
    [secret.to_owned(), base64, hex, numbers.join(", "), numbers.join(",")].map(|form| form.to_lowercase())
}

//! The names that clients give: of users and of orders.

use unicode_normalization::UnicodeNormalization;

use crate::wire::fields::ValueError;

/// Reads a name: a text that is not empty, not too long, and without characters that nobody sees.
///
/// Two texts that look the same are the same name: it is put into the composed form (NFC).
pub(crate) fn read_name(text: &str, max_chars: usize) -> Result<String, ValueError> {
    // A text that is far too long is not worth composing.
    let name: String = if text.len() > 16 * max_chars { text.to_owned() } else { composed(text) };
    let chars = name.chars().count();
    if chars == 0 || chars > max_chars {
        return Err(ValueError::new("out-of-range", format!("Must have 1 to {max_chars} characters.")));
    }
    if name.chars().any(is_unseen) {
        return Err(ValueError::invalid("Must not contain control characters or invisible ones."));
    }
    Ok(name)
}

/// Returns a text in the composed form.
pub(crate) fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Returns whether a character controls the text around it, or takes no room: by it, two names that differ look the
/// same.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'                         // soft hyphen
            | '\u{34f}'                      // combining grapheme joiner
            | '\u{61c}'                      // Arabic letter mark
            | '\u{115f}'..='\u{1160}'        // Hangul fillers
            | '\u{17b4}'..='\u{17b5}'        // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'        // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}'        // zero-width spaces and joiners, direction marks
            | '\u{2028}'..='\u{202e}'        // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}'        // word joiner, invisible operators, isolates
            | '\u{3164}'                     // Hangul filler
            | '\u{fe00}'..='\u{fe0f}'        // variation selectors
            | '\u{feff}'                     // byte order mark
            | '\u{ffa0}'                     // half-width Hangul filler
            | '\u{fff0}'..='\u{fffb}'        // specials
            | '\u{1bca0}'..='\u{1bca3}'      // shorthand format controls
            | '\u{1d173}'..='\u{1d17a}'      // musical format controls
            | '\u{e0000}'..='\u{e0fff}'      // tags and variation selectors
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        let composed = read_name("Zo\u{eb}", 4).unwrap();
        assert_eq!(read_name("Zoe\u{308}", 4).unwrap(), composed);
        assert_eq!(composed.chars().count(), 3);
        assert_eq!(read_name("アリス 42", 6).unwrap(), "アリス 42");
    }

    #[test]
    fn what_nobody_sees_is_refused() {
        for hidden in ["\0", "\n", "\u{85}", "\u{200b}", "\u{202e}", "\u{2066}", "\u{feff}", "\u{e0041}"] {
            assert_eq!(read_name(&format!("al{hidden}ice"), 255).unwrap_err().code, "invalid", "{hidden:?}");
        }
    }

    #[test]
    fn the_length_counts_characters() {
        assert_eq!(read_name(&"é".repeat(255), 255).unwrap().chars().count(), 255);
        for text in [String::new(), "é".repeat(256), "x".repeat(1_000_000)] {
            assert_eq!(read_name(&text, 255).unwrap_err().code, "out-of-range");
        }
    }
}

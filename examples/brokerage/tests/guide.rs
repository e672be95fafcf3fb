//! The guide shows code that exists.

use std::path::{Path, PathBuf};

const GUIDE: &str = "docs/embed-in-an-hour.md";

/// A block of code in the guide.
struct Block<'a> {
    /// What follows the opening fence: the language, and the file it is from.
    info: &'a str,
    lines: Vec<&'a str>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn blocks(guide: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            blocks.push(Block { info, lines: lines.by_ref().take_while(|line| *line != "```").collect() });
        }
    }
    blocks
}

/// Returns whether the lines follow each other in the text, whatever their indentation.
fn occurs(lines: &[&str], text: &str) -> bool {
    let trimmed =
        |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| line.trim().to_owned()).collect() };
    let (lines, text) = (trimmed(lines), trimmed(&text.lines().collect::<Vec<_>>()));
    text.windows(lines.len()).any(|window| window == lines)
}

#[test]
fn every_block_of_code_occurs_in_the_file_that_it_names() {
    let guide = std::fs::read_to_string(root().join(GUIDE)).unwrap();
    let mut excerpts = 0;
    for Block { info, lines } in blocks(&guide) {
        let Some((language, file)) = info.split_once(' ') else {
            assert!(!["rust", "sql"].contains(&info), "a block names no file: {lines:#?}");
            continue;
        };
        assert!(["rust", "sql"].contains(&language), "{info}");
        let text =
            std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!lines.is_empty() && occurs(&lines, &text), "{file} does not have these lines: {lines:#?}");
        excerpts += 1;
    }
    assert!(excerpts >= 10, "the guide has only {excerpts} excerpts");
}

#[test]
fn lines_occur_only_in_a_row() {
    let text = "fn a() {\n    one();\n    two();\n}\n";
    assert!(occurs(&["one();", "two();"], text));
    assert!(occurs(&["fn a() {", "one();"], text));
    assert!(!occurs(&["fn a() {", "two();"], text));
    assert!(!occurs(&["one()"], text));
}

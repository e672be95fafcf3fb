//! The layout of the sources: layers import downwards only, and no two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of this crate, from the ground up. A module imports from its own layer and from those before.
const LAYERS: [&[&str]; 10] = [
    &["planted", "setters"],
    &["domain"],
    &["ports"],
    &["telemetry"],
    &["resilience", "config", "batch"],
    &["delivery"],
    &["commit"],
    &["execution"],
    &["engine"],
    &["memory_store", "venue_routers", "backend", "testing", "conformance"],
];

/// The import of a name, as a file of the sources writes it.
#[derive(Debug)]
struct Import {
    /// The importing module, `execution::executor` for instance.
    from: String,
    /// The imported path, `commit::committer::Committer` for instance.
    to: String,
    /// Where the import stands, for people.
    place: String,
}

#[test]
fn layers_import_downwards() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layer_of = |path: &str| {
        let top = path.split("::").next().unwrap_or_default();
        LAYERS.iter().position(|layer| layer.contains(&top))
    };
    let imports = imports_of(&sources);
    assert!(imports.len() > 300, "{} imports", imports.len());
    let mut backwards = Vec::new();
    for import in &imports {
        let (Some(from), Some(to)) = (layer_of(&import.from), layer_of(&import.to)) else {
            panic!("{} imports {}, and one of them is in no layer", import.place, import.to);
        };
        if to > from {
            backwards.push(format!("{} imports {}", import.place, import.to));
        }
    }
    assert_eq!(backwards, Vec::<String>::new(), "these imports run backwards");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in a workspace");
    let (mut crates, mut circles) = (0, Vec::new());
    for manifest in files_below(workspace, &|path| path.ends_with("Cargo.toml")) {
        let sources = manifest.with_file_name("src");
        if sources.is_dir() {
            crates += 1;
            circles.extend(circles_of(&sources).into_iter().map(|files| (sources.clone(), files)));
        }
    }
    assert_eq!(circles, [], "these files import each other");
    assert!(crates >= 10, "{crates} crates");
}

#[test]
fn the_walk_in_the_documentation_is_short_and_names_files_that_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in a workspace");
    let text = fs::read_to_string(workspace.join("docs/ARCHITECTURE.md")).expect("the page is readable");
    let walk = text.split("## From POST to confirmed").nth(1).expect("the page has the walk");
    let walk = walk.split("\n## ").next().unwrap_or_default();
    let rows = walk.lines().filter(|line| line.starts_with("| ") && line.contains(".rs`"));
    let files: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    for file in &files {
        assert!(workspace.join(file).is_file(), "{file}");
    }
    let of_core = files.iter().filter(|file| file.starts_with("order-engine-core/")).count();
    assert!(files.len() <= 30 && of_core <= 15, "{} files, {of_core} of core", files.len());
    assert!(walk.contains(&format!("{}, of which {of_core} are in core", files.len())));
}

/// Returns the circles of files that import each other, directly or through others.
fn circles_of(sources: &Path) -> Vec<Vec<String>> {
    let modules: BTreeSet<String> = rust_files(sources).iter().map(|file| module_of(sources, file)).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for import in imports_of(sources) {
        if let Some(target) = file_of(&import.to, &modules).filter(|target| *target != import.from) {
            graph.entry(import.from).or_default().insert(target);
        }
    }
    let reachable = |start: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(module) = next.pop() {
            for target in graph.get(module).into_iter().flatten() {
                if seen.insert(target) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|module| (module, reachable(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, targets) in &reached {
        if targets.contains(module) {
            let mutual = |other: &&&String| reached.get(**other).is_some_and(|back| back.contains(module));
            circles.insert(targets.iter().filter(mutual).map(|other| (*other).clone()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

/// Returns the module whose file has an imported path: the longest part of the path that is a module.
fn file_of(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut path = path;
    loop {
        if modules.contains(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Returns what the production code below a folder imports from its own crate.
fn imports_of(sources: &Path) -> Vec<Import> {
    let mut imports = Vec::new();
    for file in rust_files(sources) {
        let module = module_of(sources, &file);
        if module == "lib" || module == "main" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources are readable");
        // Tests may use whatever helps them.
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        for statement in statements(production, "use ") {
            let place = format!("{}: use {statement}", file.display());
            for path in expand(&statement) {
                // A macro's own `super::*` stands for wherever the macro is used.
                if let Some(to) = absolute(&path, &module).filter(|to| to != "*") {
                    imports.push(Import { from: module.clone(), to, place: place.clone() });
                }
            }
        }
    }
    imports
}

/// Returns what stands between each `keyword` at the beginning of a line and the next semicolon.
fn statements(text: &str, keyword: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(keyword) {
        let line = &rest[rest[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        let begins_statement = matches!(line.trim(), "" | "pub" | "pub(crate)" | "pub(super)");
        rest = &rest[at + keyword.len()..];
        if let (true, Some(end)) = (begins_statement, rest.find(';')) {
            statements.push(rest[..end].split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    statements
}

/// Returns each path of an import: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn expand(path: &str) -> Vec<String> {
    let Some((prefix, list)) = path.split_once('{') else {
        let name = path.split(" as ").next().unwrap_or_default();
        return vec![name.trim().trim_end_matches("::self").to_owned()];
    };
    let list = list.strip_suffix('}').unwrap_or(list);
    let (mut depth, mut items) = (0_usize, vec![String::new()]);
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        items.last_mut().expect("there is one").push(character);
    }
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(|item| expand(&format!("{prefix}{item}"))).collect()
}

/// Returns a path from the root of the crate, if it is one of the crate.
fn absolute(path: &str, module: &str) -> Option<String> {
    if let Some(path) = path.strip_prefix("crate::") {
        return Some(path.to_owned());
    }
    let mut base: Vec<&str> = module.split("::").collect();
    let mut path = path.strip_prefix("self::").unwrap_or(path);
    let is_relative = path.starts_with("super::");
    while let Some(rest) = path.strip_prefix("super::") {
        base.pop();
        path = rest;
    }
    is_relative.then(|| base.into_iter().chain([path]).collect::<Vec<_>>().join("::"))
}

fn module_of(sources: &Path, file: &Path) -> String {
    let path = file.strip_prefix(sources).expect("the file is below its folder").with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("::")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files_below(folder, &|path| path.extension().is_some_and(|extension| extension == "rs"))
}

/// Returns the files below a folder, without those that are built or fetched.
fn files_below(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            files.extend(files_below(&path, is_wanted));
        } else if path.is_file() && is_wanted(&path) {
            files.push(path);
        }
    }
    files.sort();
    files
}

//! The example runs, has fewer than 40 lines, and builds outside this workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = include_str!("../src/main.rs");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Returns the lines that a program printed. It must have succeeded.
fn lines(output: &Output) -> Vec<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.lines().map(str::to_owned).collect()
}

/// Asserts that the order ran from its acceptance to its confirmation.
fn assert_ran(lines: &[String]) {
    assert!(lines.first().is_some_and(|line| line.ends_with("pending   Order accepted")), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.ends_with("confirmed Order executed")), "{lines:?}");
}

#[test]
fn the_program_runs_an_order_and_keeps_it_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    for _ in 0..2 {
        assert_ran(&lines(
            &Command::new(env!("CARGO_BIN_EXE_order-engine-embed")).arg(&path).output().unwrap(),
        ));
    }
    assert!(path.exists());
}

#[test]
fn the_program_has_fewer_than_forty_lines_and_one_of_them_chooses_the_store() {
    let code = PROGRAM.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(code.clone().count() < 40, "{} lines", code.count());
    assert_eq!(PROGRAM.lines().filter(|line| line.contains("SqliteStore::open")).count(), 1);
}

/// The crate is in a folder of its own and depends on this workspace by paths, as a host may do.
#[test]
fn a_crate_outside_the_workspace_builds_and_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    let dependency = |name: &str| format!("{name} = {{ path = {:?} }}\n", root.join(name));
    let manifest = format!(
        "[package]\nname = \"other-service\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
        [dependencies]\n{}{}{}tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
        [profile.dev]\ndebug = false\n\n[workspace]\n",
        dependency("order-engine-core"),
        dependency("order-engine-sim"),
        dependency("order-engine-sqlite"),
    );
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("src/main.rs"), PROGRAM).unwrap();
    // The same versions as in this workspace, so that no download is needed.
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();

    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--", "orders.db"])
        .current_dir(folder.path())
        // A separate target folder, because the workspace's is locked while its tests are built. It is inside
        // the workspace's, so that the next run reuses it.
        .env("CARGO_TARGET_DIR", root.join("target/outside"))
        .env_remove("CARGO_BUILD_TARGET_DIR")
        .output()
        .unwrap();
    assert_ran(&lines(&output));
}

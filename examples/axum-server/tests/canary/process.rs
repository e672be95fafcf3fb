//! A server whose outputs are both kept.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::common::program::command;

pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_mins(1);

fn with_outputs(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Command, PathBuf) {
    let output = folder.join("output");
    let file = std::fs::File::create(&output).unwrap();
    let mut command = command(folder, args);
    command.envs(variables.iter().copied());
    command.stdout(Stdio::from(file.try_clone().unwrap())).stderr(Stdio::from(file));
    (command, output)
}

/// Runs the program to its end, and returns whether it succeeded and what it wrote to both of its outputs.
pub(crate) async fn ended(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let (mut command, output) = with_outputs(folder, args, variables);
    let status = tokio::time::timeout(PATIENCE, command.status()).await.expect("it ends").unwrap();
    (status.success(), std::fs::read_to_string(output).unwrap())
}

impl Process {
    /// Starts the program, and waits until it has written a text.
    pub(crate) async fn start(folder: &Path, args: &[&str], variables: &[(&str, &str)], sign: &str) -> Self {
        let (mut command, output) = with_outputs(folder, args, variables);
        let process = Self { child: command.spawn().unwrap(), output };
        process.has_written(sign).await;
        process
    }

    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    pub(crate) async fn has_written(&self, sign: &str) {
        let written = async {
            while !self.output().contains(sign) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, written).await;
        assert!(waited.is_ok(), "it does not write {sign:?}: {}", self.output());
    }

    /// Returns the URL under which it serves.
    pub(crate) fn url(&self) -> String {
        let output = self.output();
        let (_, rest) = output.split_once("listening on ").expect("it serves");
        rest.split_whitespace().next().unwrap().to_owned()
    }

    /// Asks it to end, and returns all that it has written.
    pub(crate) async fn terminate(mut self) -> String {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.is_ok(), "it does not end: {}", &self.output()[self.output().len() - 4_000..]);
        self.output()
    }
}

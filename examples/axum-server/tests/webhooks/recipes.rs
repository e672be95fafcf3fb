//! The recipes of the documentation, which check what the server signs.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::receiver::Taken;

const PAGE: &str = include_str!("../../../../docs/webhooks.md");

/// A program that runs a recipe: its language in the page, its name, how it takes a text, and what follows the recipe.
const PROGRAMS: [(&str, &str, &str, &str); 2] = [
    (
        "js",
        "node",
        "-e",
        "const asked = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
         console.log(asked.map(({secret, headers, body}) => verify(secret, headers, body)).join(' '));",
    ),
    (
        "python",
        "python3",
        "-c",
        "import json, sys\nasked = json.load(sys.stdin)\n\
         print(*[str(verify(one['secret'], one['headers'], one['body'].encode())).lower() for one in asked])",
    ),
];

fn recipe(language: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let recipe = PAGE.split_once(&begin).and_then(|(_, rest)| rest.split_once("```"));
    recipe.unwrap_or_else(|| panic!("the page has a recipe in {language}")).0
}

/// Returns the requests that a receiver must take or refuse, and which.
fn requests(secret: &str, other: &str, taken: &Taken) -> (Vec<Value>, String) {
    let Taken { id, timestamp, signatures, text, .. } = taken;
    let request = |secret: &str, id: &str, timestamp: &str, body: &str| {
        let headers =
            json!({"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures});
        json!({"secret": secret, "headers": headers, "body": body})
    };
    let old = (timestamp.parse::<i64>().unwrap() - 301).to_string();
    let requests = vec![
        request(secret, id, timestamp, text),
        request(other, id, timestamp, text),
        request(secret, "evt_other", timestamp, text),
        request(secret, id, timestamp, &format!("{text} ")),
        request(secret, id, &old, text),
        request(secret, id, "soon", text),
    ];
    (requests, "true false false false false false".to_owned())
}

/// Has each recipe check a message that arrived, and changed ones.
pub(crate) async fn check(secret: &str, other: &str, taken: &Taken) {
    let (requests, expected) = requests(secret, other, taken);
    // Python refuses a timestamp that is no number by an exception, so it is not asked that.
    for (language, program, flag, runner) in PROGRAMS {
        let asked = if language == "python" { &requests[..5] } else { &requests[..] };
        let expected = expected.split(' ').take(asked.len()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(program);
        command.arg(flag).arg(format!("{}\n{runner}", recipe(language)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("install {program}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(json!(asked).to_string().as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), expected, "{program}");
    }
}

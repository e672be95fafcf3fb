//! What each command writes for scripts, the server's documents, one a line; and what a terminal shows.

use std::fmt::Write as _;
use std::process::Stdio;

use expect_test::expect;
use order_engine_server::Options;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::site::Site;

/// Runs commands, and returns of each the exit code and the fields of what it writes.
async fn fields(site: &Site, commands: &[String]) -> String {
    let mut seen = String::new();
    for command in commands {
        let (code, out, err) = site.run(&format!("--json {command}")).await;
        assert!(err.is_empty(), "{command}: {err}");
        let name = command.split(' ').next().unwrap_or_default();
        for line in out.lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            let names: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(seen, "{name} {code}: {}", names.join(" "));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_writes_documents() {
    let (site, server) = Site::new(Options::default()).await;
    let id = site.placed().await;
    let commands = [
        "quote 1.5 SOL USDC".to_owned(),
        "submit 1.5 SOL USDC --client-order-id mine".to_owned(),
        "submit 1.5 SOL USDC --client-order-id mine".to_owned(),
        "list --limit 1".to_owned(),
        format!("show {id}"),
        format!("show {id} --operator"),
        format!("show {id} --chain"),
        "attention".to_owned(),
        "stats".to_owned(),
        format!("make-due {id}"),
        "pause routing --reason x".to_owned(),
        "pauses".to_owned(),
        "resume routing".to_owned(),
        "halt --reason x".to_owned(),
        "unhalt".to_owned(),
        format!("cancel {id}"),
        format!("retry {id}"),
        "purge --older-than 90d".to_owned(),
    ];
    expect![[r#"
        quote 0: amount amountBaseUnits amountOut amountOutBaseUnits chosenDex expiresAt minOut minOutBaseUnits quoteId quotes route slippageBps tokenIn tokenOut
        submit 0: createdAt jobId orderId status wsUrl
        submit 0: createdAt jobId orderId status wsUrl
        list 0: orders
        show 0: amount amountBaseUnits amountOut amountOutBaseUnits attempt attention chosenDex clientOrderId createdAt error executionPrice executionPriceExact expiresAt inputToken lastSeq logs maxAttempts minOut orderId orderType outputToken slippageBps status tokenIn tokenOut txHash updatedAt userId
        show 0: attention isCancelRequested order origin transactions venue
        show 0: attention chain isCancelRequested order origin transactions venue
        attention 0: orders
        stats 0: backlog durability isHalted isStalled isStopping isWritable missingVenues panicked pauses sourcesConnected streams time venues workers
        make-due 0: orderId
        pause 0: pauses
        pauses 0: pauses
        resume 0: pauses
        halt 0: pauses
        unhalt 0: pauses
        cancel 0: cancel lastSeq orderId status
        retry 0: amount amountBaseUnits amountOut amountOutBaseUnits attempt attention chosenDex clientOrderId createdAt error executionPrice executionPriceExact expiresAt inputToken lastSeq maxAttempts minOut orderId orderType outputToken slippageBps status tokenIn tokenOut txHash updatedAt userId
        purge 0: deleted
    "#]].assert_eq(&fields(&site, &commands).await);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_an_order_that_is_made_due_and_what_the_chain_has_of_it() {
    let (site, server) = Site::new(Options::default()).await;
    let id = site.placed().await;
    site.check(
        &format!("make-due {id}"),
        expect![[r#"
        exit 0
        order  ID
    "#]],
    )
    .await;
    site.check(
        &format!("show --chain {id}"),
        expect![[r#"
        exit 0
        order            ID
        client order id  ID
        user             anonymous
        status           pending
        sell             1.5 SOL
        buy              - USDC
        at least         -
        exchange         -
        price            -
        transaction      -
        attempt          0/3
        attention        -
        error            -
        created          TIME
        updated          TIME

        VENUE  ON THE CHAIN  SIGNED FOR  OUTCOME  FINAL  OUTPUT (BASE UNITS)  HEIGHT
        Nothing is found, which proves nothing.
    "#]],
    )
    .await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shell_has_completions_of_every_command() {
    let (site, server) = Site::new(Options::default()).await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = site.run(&format!("completions {shell}")).await;
        assert_eq!(code, 0);
        for command in
            ["submit", "watch", "quote", "list", "cancel", "resolve", "retry", "pause", "stats", "top"]
        {
            assert!(script.contains(command), "{shell} lacks {command}");
        }
    }
    server.end().await;
}

/// Returns a command that runs the program at a terminal.
fn at_terminal(site: &Site, args: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_order-engine");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &format!("exec {program} {args}"), "/dev/null"]);
    command.env_clear().env("ORDER_ENGINE_URL", format!("http://{}", site.address)).env("TERM", "xterm");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_a_bar_that_grows_and_goes() {
    let (site, server) = Site::new(Options::default()).await;
    let id = site.placed().await;
    server.work();
    let output = at_terminal(&site, &format!("watch {id}")).output().await.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let half = format!("[{}{}]  50%\r\x1b[K", "#".repeat(15), "-".repeat(15));
    assert!(text.contains(&half), "{text:?}");
    assert!(text.ends_with("Order executed\r\n"), "{text:?}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_view_leaves_the_terminal_as_it_was() {
    let (site, server) = Site::new(Options::default()).await;
    let mut top = at_terminal(&site, "top --interval 1s").spawn().unwrap();
    let (mut keys, mut screen) = (top.stdin.take().unwrap(), top.stdout.take().unwrap());
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    // It has looked twice.
    while seen.matches("accepted 0.0/s").count() < 2 {
        let count = screen.read(&mut buffer).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(seen.starts_with("\x1b[?1049h\x1b[?25l"), "{seen:?}");
    assert!(seen.contains("attention   0") && seen.contains("half within -"), "{seen}");
    // Ctrl-C.
    keys.write_all(b"\x03").await.unwrap();
    seen.clear();
    screen.read_to_string(&mut seen).await.unwrap();
    assert!(seen.ends_with("\x1b[?25h\x1b[?1049l"), "{seen:?}");
    assert!(top.wait().await.unwrap().success());
    server.end().await;
}

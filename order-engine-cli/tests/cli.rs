//! The program against a server on the simulated chain: what it prints, its exit codes, and how it follows an order
//! through a restart.

#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![allow(clippy::too_many_lines, reason = "most of them are what people see")]

#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/site.rs"]
mod site;

use expect_test::expect;
use order_engine_core::testing::Sending;
use order_engine_server::{Access, AuditLog, AuthSettings, KeyCommand, Options};
use serde_json::Value;
use site::Site;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_quoted_placed_followed_and_shown() {
    let (site, server) = Site::new(Options::default()).await;
    site.check(
        "quote 1.5 SOL USDC",
        expect![[r#"
        exit 0
        sell      1.5 SOL
        buy       224.538669 USDC
        at least  223.415975 USDC
        exchange  Meteora

        EXCHANGE  OUTPUT      PRICE               IMPACT
        Raydium   224.430004  149.62000266666666  26 bps
        Meteora   224.538669  149.692446          21 bps
    "#]],
    )
    .await;
    site.check(
        "submit 1.5 SOL USDC --client-order-id first --user alice",
        expect![[r#"
        exit 0
        order            ID
        status           pending
        created          TIME
        client order id  first
    "#]],
    )
    .await;
    site.check(
        "submit 2 SOL USDC --client-order-id first --user alice",
        expect![[r#"
        exit 3
        order-engine: 409 idempotency-conflict: The client order id was already used for a different order.
        [beside the results]
    "#]],
    )
    .await;
    site.check("list", expect![[r#"
        exit 0
        ORDER                                 STATUS   SELL     BUY     USER   CREATED                   ATTENTION
        ID  pending  1.5 SOL  - USDC  alice  TIME  -
    "#]]).await;
    server.work();
    let (_, out, _) = site.run("--json list").await;
    let list: Value = serde_json::from_str(&out).unwrap();
    let id = list["orders"][0]["orderId"].as_str().unwrap().to_owned();
    site.check(
        &format!("watch {id}"),
        expect![[r#"
        exit 0
        TIME    0%  pending             Order accepted
        TIME   10%  routing             Fetching quotes from Raydium & Meteora…
        TIME   30%  routing             Best route: Meteora
        TIME   50%  building            Building transaction…
        TIME   70%  building            Transaction signed and ready to send
        TIME   75%  submitted           Submitting transaction (attempt 1/3)…
        TIME   80%  submitted           Transaction accepted by the venue
        TIME  100%  confirmed           Order executed
    "#]],
    )
    .await;
    site.check(
        &format!("show {id}"),
        expect![[r#"
        exit 0
        order            ID
        client order id  first
        user             alice
        status           confirmed
        sell             1.5 SOL
        buy              224.538669 USDC
        at least         223.415975
        exchange         Meteora
        price            149.692446
        transaction      TX
        attempt          1/3
        attention        -
        error            -
        created          TIME
        updated          TIME

          Order accepted
          Fetching quotes from Raydium & Meteora…
          Best route: Meteora
          Building transaction…
          Transaction signed and ready to send
          Submitting transaction (attempt 1/3)…
          Transaction accepted by the venue
          Order executed
    "#]],
    )
    .await;
    site.check(
        &format!("cancel {id}"),
        expect![[r#"
        exit 3
        order-engine: 409 too-late: The order is confirmed already.
        [beside the results]
    "#]],
    )
    .await;
    site.check(
        "show 0190163d-8694-739b-aea5-966c26f8ad91",
        expect![[r#"
        exit 3
        order-engine: 404 order-not-found: There is no such order.
        [beside the results]
    "#]],
    )
    .await;
    site.check(
        "submit 1.5 SOL SOL --slippage-bps 20000",
        expect![[r#"
        exit 3
        order-engine: 422 invalid-request: One or more fields of the request are not acceptable.
          tokenOut: The input and the output token must differ.
          slippageBps: Must be 0 to 10000 basis points, which is 0 to 100 percent.
        [beside the results]
    "#]],
    )
    .await;
    site.check("submit 0.000000001 SOL USDC --watch --ttl 1s --json", expect![[r#"
        exit 3
        {"code":"amount-too-small","detail":"The order cannot be executed as it is.","errors":[{"code":"amount-too-small","field":"amount","message":"The amount is too small for every exchange (Raydium: raydium-SOL-USDC: the amount is too small; Meteora: meteora-SOL-USDC: the amount is too small)"}],"status":422,"title":"Unprocessable Entity","type":"/problems/amount-too-small"}
        [beside the results]
    "#]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_pause_halt_and_look() {
    let (site, server) = Site::new(Options::default()).await;
    site.check(
        "pauses",
        expect![[r#"
        exit 0
        Nothing is paused.
    "#]],
    )
    .await;
    site.check(
        "pause sending --pair SOL/USDC --reason |=a rumour",
        expect![[r#"
        exit 0
        PAUSED   FOR            SINCE                     REASON
        sending  pair SOL/USDC  TIME  a rumour
    "#]],
    )
    .await;
    site.check(
        "halt --reason |=an exercise",
        expect![[r#"
        exit 0
        Nothing new is accepted or sent. What was sent before may still land.

        PAUSED     FOR            SINCE                     REASON
        accepting  all            TIME  an exercise
        sending    all            TIME  an exercise
        sending    pair SOL/USDC  TIME  a rumour
    "#]],
    )
    .await;
    site.check(
        "submit 1.5 SOL USDC",
        expect![[r#"
        exit 4
        order-engine: 503 paused: New orders are not accepted at the moment.
        [beside the results]
    "#]],
    )
    .await;
    site.check(
        "stats",
        expect![[r#"
        exit 0
        halted      yes
        pauses      3
        attention   0
        to execute  0 orders, 0 due
        to observe  0 orders, 0 due
        workers     0
        store       volatile, takes writes
        streams     0
        hints       connected

        VENUE  BUILDS  OBSERVES  FINALIZED HEIGHT
        main   yes     yes       -
    "#]],
    )
    .await;
    site.check(
        "unhalt",
        expect![[r#"
        exit 0
        PAUSED   FOR            SINCE                     REASON
        sending  pair SOL/USDC  TIME  a rumour
    "#]],
    )
    .await;
    site.check(
        "resume sending --pair SOL/USDC",
        expect![[r#"
        exit 0
        Nothing is paused.
    "#]],
    )
    .await;
    site.check(
        "resume sending",
        expect![[r#"
        exit 3
        order-engine: 404 no-such-pause: There is no such pause.
        [beside the results]
    "#]],
    )
    .await;
    let id = site.placed().await;
    site.check(
        &format!("cancel --operator {id}"),
        expect![[r#"
        exit 0
        order   ID
        cancel  cancelled
        status  failed
    "#]],
    )
    .await;
    site.check(
        &format!("show --operator {id}"),
        expect![[r#"
        exit 0
        order            ID
        client order id  ID
        user             anonymous
        status           failed
        sell             1.5 SOL
        buy              - USDC
        at least         -
        exchange         -
        price            -
        transaction      -
        attempt          0/3
        attention        -
        error            cancelled: The order was cancelled
        created          TIME
        updated          TIME
    "#]],
    )
    .await;
    site.check(
        &format!("release {id}"),
        expect![[r#"
        exit 3
        order-engine: 409 not-quarantined: The order is not in quarantine. It is failed.
        [beside the results]
    "#]],
    )
    .await;
    site.check(&format!("resolve {id} --not-executed --note x"), expect![[r#"
        exit 3
        order-engine: 409 outcome-not-unknown: The outcome is not unknown, so the engine decides. It is failed.
        [beside the results]
    "#]]).await;
    site.check(
        &format!("retry {id}"),
        expect![[r#"
        exit 0
        order            ID
        client order id  retry:ID
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
    "#]],
    )
    .await;
    site.check(
        "purge --older-than 1h",
        expect![[r#"
        exit 3
        order-engine: 422 invalid-request: One or more fields of the request are not acceptable.
          olderThanS: Must be a whole number of seconds, 86400 to 3153600000.
        [beside the results]
    "#]],
    )
    .await;
    site.check(
        "purge --older-than 90d",
        expect![[r#"
        exit 0
        deleted  0
    "#]],
    )
    .await;
    site.check(
        "attention",
        expect![[r#"
        exit 0
        ORDER  STATUS  SELL  BUY  USER  CREATED  ATTENTION
    "#]],
    )
    .await;
    site.check(
        "top --once --interval 1s",
        expect![[r#"
        exit 0
        accepted 0.0/s  confirmed 0.0/s  failed 0.0/s  half within -  95% within -

        halted      no
        pauses      0
        attention   0
        to execute  1 orders, 1 due, the first for AGE
        to observe  0 orders, 0 due
        workers     0, stalled
        store       volatile, takes writes
        streams     0
        hints       connected

        VENUE  BUILDS  OBSERVES  FINALIZED HEIGHT
        main   yes     yes       -
    "#]],
    )
    .await;
    site.check(
        "top",
        expect![[r#"
        exit 2
        order-engine: top needs a terminal; --once writes the view once
        [beside the results]
    "#]],
    )
    .await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_shown_once_through_a_restart() {
    let (site, server) = Site::new(Options::default()).await;
    let id = site.placed().await;
    let mut watching = site.command(&format!("--json watch {id}")).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut remarks = BufReader::new(watching.stderr.take().unwrap());
    let first: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&first["seq"], &first["type"]), (&1.into(), &"pending".into()));
    server.end().await;
    // It has noticed, and tries again; nobody is there.
    let mut remark = String::new();
    while !remark.contains("cannot reach") {
        remark.clear();
        remarks.read_line(&mut remark).await.unwrap();
    }
    let server = site.serve(TcpListener::bind(site.address).await.unwrap()).await;
    server.work();
    let mut seqs = vec![1];
    let mut last = first;
    while let Some(line) = lines.next_line().await.unwrap() {
        last = serde_json::from_str(&line).unwrap();
        seqs.push(last["seq"].as_u64().unwrap());
    }
    assert_eq!(last["status"], "confirmed");
    assert_eq!(seqs, (1..=last["seq"].as_u64().unwrap()).collect::<Vec<_>>(), "no gap, nothing twice");
    assert!(watching.wait().await.unwrap().success());
    let mut rest = String::new();
    remarks.read_to_string(&mut rest).await.unwrap();
    // Who asks again after the end is told how it ended.
    let (code, out, _) = site.run(&format!("watch {id} --after {}", seqs.len())).await;
    assert_eq!((code, out.as_str()), (0, ""));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_told_why() {
    let (site, server) = Site::new(Options::default()).await;
    let id = site.placed().await;
    assert_eq!(site.run(&format!("cancel {id}")).await.0, 0);
    let (code, out, err) = site.run(&format!("watch {id}")).await;
    assert_eq!((code, err.contains("cancelled")), (5, true), "{out}{err}");
    let id = site.placed().await;
    assert_eq!(site.run(&format!("watch {id} --timeout 1s")).await.0, 4, "it waits no longer");
    assert_eq!(site.run("list --status nonsense").await.0, 3);
    assert_eq!(site.run("list --nonsense").await.0, 2);
    let (code, _, err) = site.run("--json cancel 0190163d-8694-739b-aea5-966c26f8ad91").await;
    assert_eq!((code, &serde_json::from_str::<Value>(&err).unwrap()["code"]), (3, &"order-not-found".into()));
    let (_, script, _) = site.run("completions bash").await;
    assert!(script.contains("order-engine") && script.contains("unhalt"));
    server.end().await;
    assert_eq!(site.run("list").await.0, 4);
    let (code, _, err) = site.run("submit 1 SOL USDC --client-order-id mine").await;
    assert_eq!((code, err.contains("--client-order-id mine")), (7, true), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_read_from_everywhere_and_shown_nowhere() {
    let keys = tempfile::tempdir().unwrap();
    let path = keys.path().join("keys.json");
    let mut out = Vec::new();
    let create =
        KeyCommand::Create { user: "alice".into(), scopes: "read,trade".parse().unwrap(), expires: None };
    create.run(Some(path.clone()), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
    let key = String::from_utf8(out).unwrap().trim().to_owned();
    let mut settings = AuthSettings::default();
    settings.api_keys = Some(path);
    let options = Options { access: Access::open(&settings).unwrap(), ..Options::default() };
    let (site, server) = Site::new(options).await;
    assert_eq!(site.run("list").await.0, 6);
    assert_eq!(site.run(&format!("--key {key} list")).await.0, 0);
    let in_environment = site.command("list").env("ORDER_ENGINE_KEY", &key).output().await.unwrap();
    assert!(in_environment.status.success());
    let folder = site.folder.path().join("order-engine");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("cli.toml");
    std::fs::write(&file, format!("key = \"{key}\"\n")).unwrap();
    let from_file = || site.command("list").env("XDG_CONFIG_HOME", site.folder.path()).output();
    let refused = from_file().await.unwrap();
    assert_eq!(refused.status.code(), Some(2), "others may read it");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(from_file().await.unwrap().status.success());
    let mut seen = String::from_utf8(refused.stderr).unwrap();
    for args in
        ["halt --reason x", "list --nonsense", "--help", "--url http://elsewhere.example list", "pauses"]
    {
        let output = site.command(args).env("ORDER_ENGINE_KEY", &key).output().await.unwrap();
        let expected = [("halt", 6), ("list", 2), ("--help", 0), ("--url", 2), ("pauses", 6)];
        let (_, code) = expected.iter().find(|(name, _)| args.starts_with(name)).unwrap();
        assert_eq!(output.status.code(), Some(*code), "{args}");
        seen.push_str(&String::from_utf8(output.stdout).unwrap());
        seen.push_str(&String::from_utf8(output.stderr).unwrap());
    }
    assert!(!seen.contains(&key[key.len() - 43..]), "{seen}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_unknown_outcome_is_found_and_resolved() {
    let (site, server, venue) = Site::scripted(Options::default()).await;
    venue.next_sendings([Sending::Dropped]);
    venue.set_forgetful(true);
    let id = site.placed().await;
    server.work();
    let shows = async |text: &str| {
        while !site.run(&format!("--json show --operator {id}")).await.1.contains(text) {
            tokio::task::yield_now().await;
        }
    };
    shows("txHash\":\"").await;
    venue.grow(1_000);
    shows("outcome-unknown").await;
    site.check("list --attention", expect![[r#"
        exit 0
        ORDER                                 STATUS     SELL     BUY     USER       CREATED                   ATTENTION
        ID  submitted  1.5 SOL  - USDC  anonymous  TIME  outcome-unknown
    "#]]).await;
    site.check(
        &format!("resolve {id} --executed --amount-out 225 --height 7 --note|=seen in block 7|"),
        expect![[r#"
            exit 0
            order            ID
            client order id  ID
            user             anonymous
            status           confirmed
            sell             1.5 SOL
            buy              225 USDC
            at least         223.875
            exchange         Meteora
            price            150
            transaction      tx-1
            attempt          1/3
            attention        -
            error            -
            created          TIME
            updated          TIME
        "#]],
    )
    .await;
    site.check(
        "list --attention",
        expect![[r#"
        exit 0
        ORDER  STATUS  SELL  BUY  USER  CREATED  ATTENTION
    "#]],
    )
    .await;
    server.end().await;
}

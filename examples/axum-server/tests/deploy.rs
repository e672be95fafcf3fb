//! The files of `deploy/`: that they parse, that they name what the programs have, and that the processes which they start work
//! together.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::program::{Program, command, command_in, sim_venue, try_place};
use common::{Client, TestServer};
use order_engine_server::KeyFile;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use yaml_rust2::{Yaml, YamlLoader};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(DEPLOY).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns all files of `deploy/`, by their paths in it.
fn files() -> Vec<String> {
    let mut folders = vec![PathBuf::from(DEPLOY)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(DEPLOY).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

fn yaml(path: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn text<'a>(value: &'a Yaml, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value:?}"))
}

/// Returns the words of a text that stand for flags.
fn flags_in(text: &str) -> BTreeSet<String> {
    let words =
        text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '[' | ']' | '=' | '`'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

/// What a program understands: its flags, and the variables that it reads.
struct Settings {
    flags: BTreeSet<String>,
    variables: BTreeSet<String>,
}

async fn settings(mut help: Command) -> Settings {
    let output = help.arg("--help").stdout(Stdio::piped()).output().await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let variables =
        help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap().to_owned());
    let variables = variables.collect();
    // A description may speak of the flags of another program.
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    Settings { flags: lines.flat_map(flags_in).collect(), variables }
}

async fn of_the_server() -> Settings {
    settings(command(Path::new(DEPLOY), &[])).await
}

async fn of_the_venue() -> Settings {
    settings(Command::new(sim_venue().await)).await
}

#[track_caller]
fn check_variables<'a>(place: &str, settings: &Settings, names: impl Iterator<Item = &'a str>) {
    let mut count = 0;
    for name in names {
        assert!(settings.variables.contains(name), "{place} sets {name}, which the program does not read");
        count += 1;
    }
    assert!(count > 0, "{place} sets nothing");
}

fn keys(map: &Yaml) -> impl Iterator<Item = &str> {
    map.as_hash().into_iter().flatten().map(|(key, _)| key.as_str().unwrap())
}

#[tokio::test]
async fn every_file_parses_and_is_known_here() {
    for path in files() {
        match Path::new(&path).extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => assert!(!yaml(&path).is_empty(), "{path}"),
            Some("json") => {
                assert!(serde_json::from_str::<serde_json::Value>(&read(&path)).is_ok(), "{path}");
            }
            Some("env" | "service") | None => {}
            other => panic!("{path} is a {other:?}, which no test looks at"),
        }
    }
}

#[tokio::test]
async fn compose_runs_two_servers_and_two_workers_with_settings_that_exist() {
    let (server, venue) = (of_the_server().await, of_the_venue().await);
    let compose = &yaml("compose.yaml")[0];
    let services = &compose["services"];
    for (name, role) in [("api-1", "api"), ("api-2", "api"), ("worker-1", "worker"), ("worker-2", "worker")] {
        assert_eq!(text(&services[name]["environment"], "ROLE"), role);
        check_variables(name, &server, keys(&services[name]["environment"]).filter(|key| *key != "<<"));
    }
    check_variables("x-environment", &server, keys(&compose["x-environment"]));
    for argument in services["venue"]["command"].as_vec().unwrap() {
        let flags = flags_in(argument.as_str().unwrap());
        assert!(flags.is_subset(&venue.flags), "{flags:?}");
    }
    // The names under which Prometheus and the others reach the servers are allowed.
    let hosts: BTreeSet<_> = text(&compose["x-environment"], "ALLOWED_HOSTS").split(',').collect();
    let scraped = &yaml("prometheus/prometheus.yaml")[0]["scrape_configs"][0];
    assert_eq!(text(scraped, "job_name"), "order-engine");
    for target in scraped["static_configs"][0]["targets"].as_vec().unwrap() {
        assert!(hosts.contains(target.as_str().unwrap().strip_suffix(":3000").unwrap()), "{target:?}");
    }
    // Without authentication only this machine may reach them.
    for (name, service) in services.as_hash().unwrap() {
        for port in service["ports"].as_vec().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name:?}");
        }
    }
    let grace: u64 = text(&compose["x-server"], "stop_grace_period").trim_end_matches('s').parse().unwrap();
    let seconds = |name| text(&compose["x-environment"], name).parse::<u64>().unwrap();
    assert!(grace > seconds("DRAIN") + seconds("SHUTDOWN_TIMEOUT"));
    let store: Result<order_engine_server::StoreUrl, _> = text(&compose["x-environment"], "STORE_URL")
        .replace("${POSTGRES_PASSWORD:-order-engine}", "x")
        .parse();
    assert!(store.is_ok());
}

#[tokio::test]
async fn kubernetes_probes_what_the_server_serves_and_waits_for_its_shutdown() {
    let server = of_the_server().await;
    let running = TestServer::start().await;
    let config = yaml("kubernetes/config.yaml");
    let of_kind = |kind: &str, name: &str| {
        config
            .iter()
            .find(|object| text(object, "kind") == kind && text(&object["metadata"], "name") == name)
            .unwrap()
            .clone()
    };
    let settings = &of_kind("ConfigMap", "order-engine")["data"];
    check_variables("the config map", &server, keys(settings));
    check_variables("the secret", &server, keys(&of_kind("Secret", "order-engine")["stringData"]));
    let folder = tempfile::tempdir().unwrap();
    let keys_file = folder.path().join("keys.json");
    let secret = of_kind("Secret", "order-engine-keys");
    fs::write(&keys_file, text(&secret["stringData"], "keys.json")).unwrap();
    assert!(KeyFile::new(keys_file).read().unwrap().is_empty(), "a key that everybody can read is none");
    let seconds = |name| text(settings, name).parse::<i64>().unwrap();

    for component in ["api", "worker"] {
        let objects = yaml(&format!("kubernetes/{component}.yaml"));
        let object = |kind: &str| objects.iter().find(|object| text(object, "kind") == kind).unwrap();
        let deployment = object("Deployment");
        assert_eq!(text(deployment, "apiVersion"), "apps/v1");
        assert!(deployment["spec"]["replicas"].as_i64().unwrap() >= 2);
        let (labels, pod) =
            (&deployment["spec"]["template"]["metadata"]["labels"], &deployment["spec"]["template"]["spec"]);
        assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
        let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
        assert!(grace > seconds("DRAIN") + seconds("SHUTDOWN_TIMEOUT"), "{component}");
        check_pod(pod);
        let container = &pod["containers"][0];
        check_variables(
            component,
            &server,
            container["env"].as_vec().unwrap().iter().map(|env| text(env, "name")),
        );
        assert_eq!(
            (text(&container["env"][0], "name"), text(&container["env"][0], "value")),
            ("ROLE", component)
        );
        for (probe, path) in
            [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]
        {
            let get = &container[probe]["httpGet"];
            assert_eq!((text(get, "path"), text(get, "port")), (path, text(&container["ports"][0], "name")));
            assert_eq!(running.get(path).await.status(), 200, "{path}");
        }
        assert_eq!(container["ports"][0]["containerPort"].as_i64(), Some(seconds("PORT")));
        for source in container["envFrom"].as_vec().unwrap() {
            let name = source["configMapRef"]["name"].as_str().or(source["secretRef"]["name"].as_str());
            assert_eq!(name, Some("order-engine"));
        }
        let budget = object("PodDisruptionBudget");
        assert_eq!(
            (text(budget, "apiVersion"), &budget["spec"]["selector"]["matchLabels"]),
            ("policy/v1", labels)
        );
        assert_eq!(budget["spec"]["minAvailable"].as_i64(), Some(1));
        if component == "api" {
            assert_eq!(&object("Service")["spec"]["selector"], labels);
        }
        for object in &objects {
            assert_eq!(text(&object["metadata"], "namespace"), "order-engine");
        }
    }
    check_pod(&yaml("kubernetes/sim-venue.yaml")[0]["spec"]["template"]["spec"]);
}

/// Checks what the restricted standard of Kubernetes asks of a pod, and that it has bounds.
fn check_pod(pod: &Yaml) {
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(text(&pod["securityContext"]["seccompProfile"], "type"), "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    for container in pod["containers"].as_vec().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
        assert_eq!(context["readOnlyRootFilesystem"].as_bool(), Some(true));
        assert_eq!(context["capabilities"]["drop"][0].as_str(), Some("ALL"));
        assert!(container["resources"]["limits"]["memory"].as_str().is_some());
        let (_, tag) = text(container, "image").rsplit_once(':').expect("an image has a version");
        assert_ne!(tag, "latest");
    }
}

#[tokio::test]
async fn the_image_is_small_runs_as_nobody_and_checks_itself() {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let stages: Vec<Vec<&str>> = lines.iter().fold(Vec::new(), |mut stages, line| {
        if line.starts_with("FROM ") {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("it begins with FROM").push(line);
        stages
    });
    assert_eq!(stages.len(), 3);
    let mut names = Vec::new();
    for stage in &stages {
        let [_, image, _, name] = stage[0].split(' ').collect::<Vec<_>>()[..] else { panic!("{}", stage[0]) };
        assert!(image == "scratch" || image.contains(':') && !image.ends_with(":latest"), "{image}");
        for line in stage {
            assert!(!line.starts_with("ADD ") && !line.contains("curl") && !line.contains("sudo"), "{line}");
            if let Some(rest) = line.strip_prefix("COPY --from=") {
                assert!(names.contains(&rest.split(' ').next().unwrap()), "{line}");
            }
        }
        names.push(name);
    }
    for stage in &stages[1..] {
        assert!(stage[0].starts_with("FROM scratch "), "it has nothing but what is made for it");
        assert!(stage.contains(&"USER 65532:65532"));
        assert!(
            stage.iter().any(|line| line.starts_with("ENTRYPOINT [\"/")),
            "a shell would not pass signals on"
        );
        assert!(!stage.iter().any(|line| line.starts_with("RUN ")), "the image has no shell");
    }
    // The version is that with which the workspace compiles.
    let manifest = fs::read_to_string(Path::new(DEPLOY).join("../Cargo.toml")).unwrap();
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""))
        .unwrap()
        .trim_end_matches('"');
    assert!(stages[0][0].contains(&format!("rust:{version}-")));
    let server = of_the_server().await;
    let set = stages[2].iter().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    check_variables("the image", &server, set.split(' ').map(|pair| pair.split('=').next().unwrap()));
    let check = stages[2].iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    assert!(check.ends_with("CMD [\"/usr/local/bin/order-engine-server\", \"check\"]"), "{check}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_holds_all_that_the_program_needs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let program = env!("CARGO_BIN_EXE_order-engine-server");
    let made = Command::new(Path::new(DEPLOY).join("image-root")).arg(program).arg(&root).status().await;
    assert!(made.unwrap().success());
    assert!(!root.join("bin").exists(), "there is no shell");

    let server = Program::start_in(&root, &["--store", "sqlite:///tmp/orders.db"]).await;
    let id = server.place(&reqwest::Client::new(), "k").await;
    let (frames, code) = Client::connect(&server.ws(&id)).await.drain().await;
    assert_eq!((code, &frames.last().unwrap()["type"]), (1000, &"confirmed".into()));
    let (_, port) = server.url.rsplit_once(':').unwrap();
    assert!(command_in(&root, &["--port", port, "check"]).status().await.unwrap().success());
    assert_eq!(server.terminate().await.0, Some(0));
}

#[tokio::test]
async fn the_units_are_what_systemd_understands() {
    let server = of_the_server().await;
    for path in ["systemd/api.env", "systemd/worker.env"] {
        let file = read(path);
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        check_variables(path, &server, lines.map(|line| line.split_once('=').unwrap().0));
    }
    let unit = read("systemd/order-engine@.service");
    for needed in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "User=order-engine",
        "KillSignal=SIGTERM",
        "CapabilityBoundingSet=\n",
    ] {
        assert!(unit.contains(needed), "{needed}");
    }
    // Where systemd is, it has the last word. It wants the program to exist.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order-engine@api.service");
    let program = env!("CARGO_BIN_EXE_order-engine-server");
    fs::write(&path, unit.replace("/usr/local/bin/order-engine-server", program)).unwrap();
    let Ok(verified) =
        Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output().await
    else {
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("order-engine")).collect();
    assert!(of_ours.is_empty(), "{said}");
}

/// A line of the Procfile, run by a shell in a folder, as its runners do.
fn run(line: &str, folder: &Path, ports: [u16; 3]) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_order-engine-server")).parent().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec {line}")).current_dir(folder).env_clear();
    shell.env("PATH", program).env("RUST_LOG", "error").kill_on_drop(true);
    for (name, port) in ["VENUE_PORT", "API_PORT", "WORKER_PORT"].into_iter().zip(ports) {
        shell.env(name, port.to_string());
    }
    shell.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_procfile_starts_a_chain_a_server_and_a_worker_that_execute_an_order() {
    sim_venue().await;
    let folder = tempfile::tempdir().unwrap();
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = |listener: TcpListener| listener.local_addr().unwrap().port();
    // All are held before any is let go, so that they differ.
    let ports = [listen().await, listen().await, listen().await].map(port);
    let procfile = read("Procfile");
    let lines: Vec<(&str, &str)> = procfile.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["venue", "api", "worker"]);
    let mut running: Vec<Child> = lines.iter().map(|(_, line)| run(line, folder.path(), ports)).collect();
    let http = reqwest::Client::new();
    for port in &ports[1..] {
        // They wait for the chain. Nobody starts again what has ended.
        while !http
            .get(format!("http://127.0.0.1:{port}/ready"))
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            for process in &mut running {
                assert_eq!(process.try_wait().unwrap(), None);
            }
            tokio::task::yield_now().await;
        }
    }
    let url = format!("http://127.0.0.1:{}", ports[1]);
    let id = try_place(&url, &http, "k").await.unwrap();
    let (frames, code) =
        Client::connect(&format!("ws://127.0.0.1:{}/ws/orders/{id}", ports[1])).await.drain().await;
    assert_eq!((code, &frames.last().unwrap()["type"]), (1000, &"confirmed".into()));

    // The program answers for itself, as the image has it.
    let healthy = command(folder.path(), &["--port", &ports[1].to_string(), "check"]).status().await.unwrap();
    assert!(healthy.success());
    let none = command(folder.path(), &["--port", &port(listen().await).to_string(), "check"])
        .status()
        .await
        .unwrap();
    assert!(!none.success());
}

//! `:dep` from repositories and registries, with and without them; and the cache it fills. Everything is local.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A user with a home, a repository and a cache of its own.
struct User {
    folder: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let exe = std::env::current_exe().unwrap();
        let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file());
        let mut command = Command::new(program.expect("`cargo build --release` makes the command these tests run"));
        command.args(words).current_dir(self.folder.path());
        // The network is not retried, and nothing of the user who runs the tests is used.
        command
            .env("CARGO_HOME", self.path("cargo"))
            .env("CARGO_NET_RETRY", "0")
            .env("CARGO_HTTP_MULTIPLEXING", "false");
        command.env("XDG_CACHE_HOME", self.path("cache")).env_remove("CARGO_NET_OFFLINE").env("NO_PROXY", "127.0.0.1");
        command
    }

    /// Runs cells in a new kernel; what each of them shows or says, or its error.
    fn cells(&self, cells: &[String]) -> Vec<String> {
        self.cells_with(cells, &|_| ())
    }

    /// The same, in another environment.
    fn cells_with(&self, cells: &[String], change: &dyn Fn(&mut Command)) -> Vec<String> {
        let cell = |(at, source): (usize, &String)| json!({"cell_type": "code", "id": format!("c{at}"), "metadata": {}, "execution_count": null, "outputs": [], "source": source});
        let cells: Vec<Value> = cells.iter().enumerate().map(cell).collect();
        let notebook = json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells});
        std::fs::write(self.path("in.ipynb"), notebook.to_string()).unwrap();
        let mut command = self.command(&["run", "in.ipynb", "--inplace", "--allow-errors"]);
        change(&mut command);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let out: Value = serde_json::from_slice(&std::fs::read(self.path("in.ipynb")).unwrap()).unwrap();
        let joined = |text: &Value| match text {
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let shown = |output: &Value| match output["output_type"].as_str() {
            Some("error") => format!("{}: {}", joined(&output["ename"]), joined(&output["evalue"])),
            Some("stream") => joined(&output["text"]),
            _ => joined(&output["data"]["text/plain"]),
        };
        let cells = out["cells"].as_array().unwrap().iter();
        cells.map(|cell| cell["outputs"].as_array().unwrap().iter().map(shown).collect::<Vec<_>>().join("\n")).collect()
    }

    fn one(&self, cell: &str) -> String {
        self.cells(&[cell.to_owned()]).remove(0)
    }

    fn kernel(&self, words: &[&str]) -> String {
        let done = self.command(&[&["kernel"], words].concat()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

fn run(folder: &Path, program: &str, words: &[&str]) -> Output {
    let done = Command::new(program).args(words).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

/// A repository with a crate that says which version of it this is; its address.
struct Repository(PathBuf);

impl Repository {
    fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = "[package]\nname = \"drifting\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        run(&folder, "git", &["init", "-q", "-b", "main"]);
        Self(folder)
    }

    fn commit(&self, which: &str) {
        let text = format!("pub fn which() -> &'static str {{ \"{which}\" }}\n");
        std::fs::write(self.0.join("src/lib.rs"), text).unwrap();
        run(&self.0, "git", &["add", "-A"]);
        run(&self.0, "git", &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", which]);
    }

    fn dep(&self, rest: &str) -> String {
        format!(":dep drifting = {{ git = \"file://{}\"{rest} }}\ndrifting::which()", self.0.display())
    }
}

#[test]
fn a_repository_is_a_dependency_by_branch_tag_and_revision() {
    let user = User::new();
    let repository = Repository::new(user.path("repository"));
    repository.commit("first");
    run(&repository.0, "git", &["tag", "v1"]);
    let first = run(&repository.0, "git", &["rev-parse", "HEAD"]).stdout;
    let first = String::from_utf8(first).unwrap().trim().to_owned();
    run(&repository.0, "git", &["checkout", "-qb", "side"]);
    repository.commit("side");
    run(&repository.0, "git", &["checkout", "-q", "main"]);
    repository.commit("newest");
    for (rest, which) in [
        ("", "newest"),
        (", tag = \"v1\"", "first"),
        (", branch = \"side\"", "side"),
        (&format!(", rev = \"{first}\""), "first"),
    ] {
        let said = user.one(&repository.dep(rest));
        assert!(said.starts_with("drifting 1.0.0 · ") && said.ends_with(&format!("\"{which}\"")), "{rest}: {said}");
    }
    // What was built stays what it is, until a newer one is asked for.
    repository.commit("newer still");
    assert!(user.one(&repository.dep("")).ends_with("\"newest\""));
    let said = user.one(&repository.dep("").replace(":dep", ":dep --update"));
    assert!(said.ends_with("\"newer still\""), "{said}");

    // Without the repository, fetched revisions are used with a notice; others are an error that names the reason.
    std::fs::rename(&repository.0, user.path("elsewhere")).unwrap();
    let said = user.cells(&[
        repository.dep(", tag = \"v1\", features = []"),
        repository.dep(", rev = \"1234567\""),
        "drifting::which()".to_owned(),
    ]);
    assert!(said[0].contains("what was fetched earlier is used") && said[0].ends_with("\"first\""), "{}", said[0]);
    assert!(said[1].contains("DependencyError: failed to get `drifting`: "), "{}", said[1]);
    assert!(said[1].contains(&user.path("repository").display().to_string()), "{}", said[1]);
    assert_eq!(said[2], "\"first\"");
}

/// A registry that serves one crate, until somebody asks for `/stop`; its address.
fn registry(user: &User) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = user.path("tiny-thing-1.2.3");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = "[package]\nname = \"tiny-thing\"\nversion = \"1.2.3\"\nedition = \"2021\"\n";
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/lib.rs"), "pub fn answer() -> u8 { 42 }\n").unwrap();
    run(user.folder.path(), "tar", &["czf", "tiny.crate", "tiny-thing-1.2.3"]);
    let sum = run(user.folder.path(), "sha256sum", &["tiny.crate"]).stdout;
    let sum = String::from_utf8(sum).unwrap().split(' ').next().unwrap().to_owned();
    let package = std::fs::read(user.path("tiny.crate")).unwrap();
    let index =
        json!({"name": "tiny-thing", "vers": "1.2.3", "deps": [], "cksum": sum, "features": {}, "yanked": false});
    let config = json!({"dl": format!("http://{address}/dl/{{crate}}")}).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (status, body) = match first.split(' ').nth(1).unwrap_or_default() {
                "/stop" => return,
                "/config.json" => ("200 OK", config.clone().into_bytes()),
                "/ti/ny/tiny-thing" => ("200 OK", index.to_string().into_bytes()),
                "/dl/tiny-thing" => ("200 OK", package.clone()),
                _ => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&body));
        }
    });
    address
}

/// The user's settings: the registry is another.
fn use_registry(user: &User, address: &str) {
    let text = format!(
        "[source.crates-io]\nreplace-with = \"mine\"\n[source.mine]\nregistry = \"sparse+http://{address}/\"\n"
    );
    std::fs::create_dir_all(user.path("cargo")).unwrap();
    std::fs::write(user.path("cargo/config.toml"), text).unwrap();
}

#[test]
fn fetched_crates_are_used_without_the_network() {
    let user = User::new();
    // Nobody listens there, as when the network is gone.
    use_registry(&user, "127.0.0.1:9");
    let said = user.one(":dep tiny-thing = \"1\"");
    assert!(said.contains("DependencyError: failed to get `tiny-thing`: "), "{said}");
    assert!(said.to_lowercase().contains("connect"), "{said}");

    let address = registry(&user);
    use_registry(&user, &address);
    let said = user.cells(&[
        ":dep tiny-thing = \"1\"\ntiny_thing::answer()".to_owned(),
        ":dep no-such-thing = \"1\"".to_owned(),
        ":dep tiny-thing = \"2\"".to_owned(),
    ]);
    assert!(said[0].contains("tiny-thing 1.2.3 · 1 crate built in") && said[0].ends_with("42"), "{}", said[0]);
    assert!(said[1].contains("no matching package named `no-such-thing` found"), "{}", said[1]);
    assert!(said[2].contains("failed to select a version for the requirement `tiny-thing = \"^2\"`"), "{}", said[2]);

    // Another set, built with `%offline`.
    let offline = ":offline on\n:dep tiny-thing = { version = \"1.2\" }\ntiny_thing::answer()";
    assert!(user.one(offline).ends_with("42"));
    // One more, when the registry is gone: the fetched crates are used.
    TcpStream::connect(&address).unwrap().write_all(b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
    while TcpStream::connect(&address).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let said = user.one(":dep tiny-thing = \"1.2.3\"\ntiny_thing::answer() - 1");
    assert!(said.contains("what was fetched earlier is used") && said.ends_with("41"), "{said}");
}

/// Settings of cargo that would build a set differently, or not at all.
const CONTRARY: &str = "[build]\ntarget = \"wasm32-unknown-unknown\"\ntarget-dir = \"/no/such/target\"\nbuild-dir = \"/no/such/build\"\n\
    rustc-wrapper = \"/no/such/wrapper\"\nrustflags = [\"-Cpanic=abort\", \"-Cno-such-flag\"]\n\
    [profile.release]\npanic = \"abort\"\nlto = \"fat\"\nopt-level = 0\nstrip = true\n[term]\nquiet = true\n";

#[test]
fn settings_of_cargo_do_not_change_what_is_built() {
    let user = User::new();
    let folder = user.path("panics");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = "[package]\nname = \"panics\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let source = "pub fn now() -> u8 { panic!(\"now\") }\npub fn caught() -> bool { std::panic::catch_unwind(|| { now(); }).is_err() }\n";
    std::fs::write(folder.join("src/lib.rs"), source).unwrap();
    std::fs::create_dir_all(user.path("cargo")).unwrap();
    std::fs::write(user.path("cargo/config.toml"), CONTRARY).unwrap();
    let cells = [":dep panics = { path = \"panics\" }", "let kept = 5; panics::caught()", "panics::now()", "kept"];
    let cells = cells.map(str::to_owned);
    let in_files = user.cells(&cells);
    std::fs::remove_file(user.path("cargo/config.toml")).unwrap();
    let in_environment = user.cells_with(&cells, &|command| {
        let settings = [
            ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
            ("CARGO_PROFILE_RELEASE_LTO", "fat"),
            ("RUSTFLAGS", "-Cpanic=abort -Cno-such-flag"),
            ("CARGO_BUILD_TARGET", "wasm32-unknown-unknown"),
            ("RUSTC_WRAPPER", "/no/such/wrapper"),
            ("CARGO_TARGET_DIR", "/no/such/target"),
        ];
        command.envs(settings);
    });
    for said in [in_files, in_environment] {
        assert!(said[0].starts_with("panics 0.1.0 · "), "{}", said[0]);
        assert!(said[1].ends_with("true"), "{}", said[1]);
        assert_eq!(said[3], "5");
        assert!(said[2].starts_with("Panic: now"), "{}", said[2]);
    }
}

#[test]
fn the_cache_is_listed_and_cleaned_except_what_is_in_use() {
    let user = User::new();
    let write = |name: &str| {
        let folder = user.path(name);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(folder.join("src/lib.rs"), format!("pub const NAME: &str = \"{name}\";\n")).unwrap();
        format!(":dep {name} = {{ path = \"{name}\" }}\n{name}::NAME")
    };
    let [lasting, passing] = ["lasting", "passing"].map(write);
    assert!(user.kernel(&["doctor"]).contains(":dep cache  none; `:dep` keeps them in"));
    assert_eq!(user.kernel(&["clean"]).trim(), "0 sets removed, 0 kept, 0.0 kB freed");
    assert!(user.one(&lasting).ends_with("\"lasting\""));
    assert!(user.one(&passing).ends_with("\"passing\""));

    // Both were used just now.
    assert!(user.kernel(&["clean"]).starts_with("0 sets removed, 2 kept"));
    let compiler = std::fs::read_dir(user.path("cache/chandlery/deps")).unwrap().flatten();
    let compiler = compiler.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    let mut sets = std::fs::read_dir(&compiler).unwrap().flatten().map(|entry| entry.path());
    let passed = sets
        .find(|set| std::fs::read_to_string(set.join("Cargo.toml")).is_ok_and(|text| text.contains("passing")))
        .unwrap();
    let used = std::fs::File::options().append(true).open(passed.join("used")).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 24 * 60 * 60);
    used.set_modified(long_ago).unwrap();

    let report = user.kernel(&["doctor"]);
    assert!(report.contains("advice   :dep cache  2 sets in") && report.contains("1 not used for 30 days"), "{report}");
    assert!(report.contains("chandlery kernel clean` removes those"), "{report}");
    let lines: Vec<_> = report.lines().filter(|line| line.contains("ing 0.1.0: ")).collect();
    assert!(lines[0].contains("lasting") && lines[0].ends_with("used today"), "{report}");
    assert!(lines[1].contains("passing") && lines[1].ends_with("used 40 days ago"), "{report}");

    // A kernel that has it loaded keeps it. This process holds it as a kernel would.
    used.lock_shared().unwrap();
    assert!(user.kernel(&["clean"]).starts_with("0 sets removed, 2 kept"));
    assert!(user.kernel(&["doctor"]).contains("passing 0.1.0: "));
    drop(used);
    assert!(user.kernel(&["clean", "--dry-run"]).contains("would remove passing 0.1.0: "));
    assert!(passed.is_dir());
    let said = user.kernel(&["clean"]);
    assert!(said.contains("removed passing 0.1.0: ") && said.contains("1 set removed, 1 kept"), "{said}");
    assert!(!passed.exists());
    // The other set is complete, and nothing is left of this one.
    let built = run(&compiler, "find", &["."]).stdout;
    let built = String::from_utf8(built).unwrap();
    assert!(!built.contains("passing") && built.contains("lasting"), "{built}");
    assert!(user.one(&lasting).starts_with("lasting 0.1.0 · was already built"));
    assert!(user.one(&passing).ends_with("\"passing\""));
    assert!(user.kernel(&["clean", "--older-than", "0"]).contains("2 sets removed, 0 kept"));
    assert!(!compiler.exists());
    assert!(user.one(&lasting).ends_with("\"lasting\""));
}

//! The kernel as a process, started as front ends start it: with a connection file and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chandlery_kernel::client::ipc;
use jupyter_protocol::{CommId, CommOpen, ConnectionInfo, ExecuteRequest, ReplyStatus, ShutdownRequest};

use crate::front_end::{FrontEnd, error_of, execute_reply};

pub(crate) fn program() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file());
    program.expect("`cargo build --release` makes the command these tests run")
}

/// A kernel process, killed with its test.
pub(crate) struct Kernel {
    process: Child,
    info: ConnectionInfo,
    folder: tempfile::TempDir,
}

impl Kernel {
    pub(crate) fn start(engine: &str, parent: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let info = ipc(folder.path());
        let file = folder.path().join("connection.json");
        std::fs::write(&file, serde_json::to_string(&info).unwrap()).unwrap();
        let mut command = Command::new(program());
        command.args(["kernel", "start", "--engine", engine, "--connection-file"]).arg(file);
        command.env("CHANDLERY_HISTORY", "off").env_remove("JPY_PARENT_PID").stdin(Stdio::null());
        if let Some(parent) = parent {
            command.env("JPY_PARENT_PID", parent.to_string());
        }
        Self { process: command.spawn().unwrap(), info, folder }
    }

    pub(crate) async fn front(&self) -> FrontEnd {
        while !Path::new(&format!("{}-1", self.info.ip)).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        FrontEnd::connect(self.info.clone(), "test").await
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// The processes below the kernel's: its worker and its compilers.
    fn children(&self) -> Vec<u32> {
        let mut found = vec![self.process.id()];
        let mut at = 0;
        while at < found.len() {
            found.extend(children_of(found[at]));
            at += 1;
        }
        found.split_off(1)
    }

    /// Waits for its end. Returns whether it exited successfully.
    pub(crate) fn ended(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the kernel does not end");
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn children_of(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    found
}

/// Whether a process is running and not a zombie.
pub(crate) fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

fn all_end(processes: &[u32]) {
    let until = Instant::now() + Duration::from_secs(10);
    while let Some(process) = processes.iter().find(|&&process| runs(process)) {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        assert!(Instant::now() < until, "orphaned: {}", String::from_utf8_lossy(&line).replace('\0', " "));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_interrupts_and_a_request_ends_the_process() {
    let mut kernel = Kernel::start("echo", None);
    let mut front = kernel.front().await;
    let cell = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
    assert_eq!(front.published().await.1, "busy");
    assert!(front.published().await.1.starts_with("input"));
    // The input is published a moment before the engine starts the cell.
    tokio::time::sleep(Duration::from_millis(300)).await;
    kernel.signal("-INT");
    assert_eq!(error_of(&execute_reply(front.reply(&cell).await)), "Interrupted: interrupted");
    front.transcript(&cell).await;
    kernel.signal("-INT");
    assert_eq!(front.run("print a").await.1.status, ReplyStatus::Ok);

    let end = front.send_control(ShutdownRequest { restart: false }).await;
    front.control_reply(&end).await;
    assert!(kernel.ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_when_the_process_ends() {
    for _ in 0..10 {
        let mut kernel = Kernel::start("echo", None);
        let mut front = kernel.front().await;
        let mut other = FrontEnd::connect(kernel.info.clone(), "other").await;
        let cell = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
        assert_eq!(other.published().await, (cell.clone(), "busy".to_owned()));
        let end = front.send_control(ShutdownRequest { restart: false }).await;
        front.control_reply(&end).await;
        assert_eq!(error_of(&execute_reply(front.reply(&cell).await)), "Interrupted: interrupted");
        assert!(kernel.ended());
        // The process is gone; a second reader has everything that it published.
        let mut told = Vec::new();
        while !told.contains(&(end.clone(), "idle".to_owned())) {
            told.push(other.published().await);
        }
        assert!(told.contains(&(end, "shutdown_reply".to_owned())) && told.contains(&(cell, "idle".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_and_the_compilers_end_with_the_kernel() {
    for how in ["parent", "-TERM", "-KILL"] {
        let mut parent = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut kernel = Kernel::start("direct", Some(parent.id()));
        let mut front = kernel.front().await;
        assert_eq!(front.run("let a = 1;").await.1.status, ReplyStatus::Ok);
        // The worker runs a cell that never ends, and the next cell's compiler waits.
        let cell = front.send(ExecuteRequest::new("loop { std::hint::black_box(a); }".to_owned())).await;
        assert_eq!(front.published().await, (cell, "busy".to_owned()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let children = kernel.children();
        assert!(!children.is_empty());
        match how {
            "parent" => {}
            signal => kernel.signal(signal),
        }
        if how != "parent" {
            assert_eq!(kernel.ended(), how == "-TERM");
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert_eq!(kernel.ended(), how != "-KILL", "{how}");
        all_end(&children);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_dropped_however_the_kernel_ends() {
    for how in ["request", "restart", "-TERM", "parent", "-KILL"] {
        let mut parent = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut kernel = Kernel::start("direct", Some(parent.id()));
        let mut front = kernel.front().await;
        let file = kernel.folder.path().join("rows.csv");
        let code = format!(
            "use std::io::Write;\nlet mut rows = std::io::BufWriter::new(std::fs::File::create({file:?})?);\nwriteln!(rows, \"a,b\")?;"
        );
        assert_eq!(front.run(&code).await.1.status, ReplyStatus::Ok);
        let children = kernel.children();
        match how {
            "request" | "restart" => {
                let end = front.send_control(ShutdownRequest { restart: how == "restart" }).await;
                front.control_reply(&end).await;
            }
            "parent" => {
                parent.kill().unwrap();
                parent.wait().unwrap();
            }
            signal => kernel.signal(signal),
        }
        kernel.ended();
        all_end(&children);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "a,b\n", "{how}");
        let _ = parent.kill();
        let _ = parent.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pane_shows_the_variables_of_rust_cells() {
    let kernel = Kernel::start("direct", None);
    let mut front = kernel.front().await;
    let open = CommOpen {
        comm_id: CommId("pane".to_owned()),
        target_name: "chandlery.variables".to_owned(),
        data: Default::default(),
        target_module: None,
    };
    let opened = front.send(open).await;
    front.transcript(&opened).await;
    let (lines, _) = front.run(r#"let steps = vec![1, 2, 3]; let name = "wick".to_owned();"#).await;
    let told = lines.last().unwrap().strip_prefix("comm_msg pane ").unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    let expected = [
        serde_json::json!({"name": "name", "type": "String", "value": r#""wick""#}),
        serde_json::json!({"name": "steps", "type": "Vec<i32>", "value": "[1, 2, 3]"}),
    ];
    assert_eq!(told["variables"], serde_json::json!(expected));
}

#[test]
fn an_invalid_connection_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connection.json");
    let start = || {
        let run = Command::new(program()).args(["kernel", "start", "-f"]).arg(&file).output().unwrap();
        assert_eq!(run.status.code(), Some(1));
        String::from_utf8(run.stderr).unwrap()
    };
    assert!(start().contains("cannot read the connection file"));
    std::fs::write(&file, "{").unwrap();
    assert!(start().contains("is not a Jupyter connection file"));
    let info = ConnectionInfo { signature_scheme: "hmac-md5".to_owned(), ..ipc(folder.path()) };
    std::fs::write(&file, serde_json::to_string(&info).unwrap()).unwrap();
    assert!(start().contains("hmac-md5"));
}

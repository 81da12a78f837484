//! The checks of public conformance suites, on this kernel as a process that runs Rust cells.

use std::collections::BTreeMap;

use jupyter_protocol::{
    CommId, CommInfoRequest, CommOpen, CompleteRequest, ExecuteRequest, ExecuteResult, HistoryRequest, InputReply,
    InspectRequest, InterruptRequest, IsCompleteRequest, JupyterMessage, JupyterMessageContent as M, KernelInfoRequest,
    ReplyStatus, ShutdownRequest,
};
use jupyter_zmq_client as zmq;
use serde_json::{Value, json};

use crate::front_end::{FrontEnd, PATIENCE, between, error_of, execute_reply, line};
use crate::kernel_process::Kernel;

/// Runs a cell; the lines after its input. Cells of the test count from 1.
async fn run(front: &mut FrontEnd, code: &str, number: usize) -> Vec<String> {
    let (lines, reply) = front.run(code).await;
    assert_eq!((reply.status, reply.execution_count.0), (ReplyStatus::Ok, number), "{code}\n{lines:?}");
    assert_eq!(lines[0], format!("input {number} {code:?}"));
    lines[1..].to_vec()
}

async fn ask(front: &mut FrontEnd, request: impl Into<M>) -> Value {
    let id = front.send(request).await;
    let reply = serde_json::to_value(front.reply(&id).await).unwrap();
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_cells_pass_what_conformance_suites_ask() {
    let mut kernel = Kernel::start("direct", None);
    // Its welcome on iopub comes before anything else.
    let mut front = kernel.front().await;
    zmq::create_client_heartbeat_connection(&front.info).await.unwrap().single_heartbeat().await.unwrap();
    let info = ask(&mut front, KernelInfoRequest {}).await;
    assert_eq!((&info["status"], &info["language_info"]["name"]), (&json!("ok"), &json!("rust")));

    assert_eq!(run(&mut front, "println!(\"hello\");", 1).await, [r#"stdout "hello\n""#]);
    assert_eq!(run(&mut front, "eprintln!(\"error\");", 2).await, [r#"stderr "error\n""#]);
    assert_eq!(run(&mut front, "let lamp_of_the_test = 1;", 3).await, [""; 0]);
    assert_eq!(run(&mut front, "1 + 1", 4).await, [r#"result 4 "2""#]);

    let code = "lamp_of".to_owned();
    let found = ask(&mut front, CompleteRequest { cursor_pos: code.len(), code }).await;
    assert_eq!((&found["status"], &found["matches"]), (&json!("ok"), &json!(["lamp_of_the_test"])));
    let code = "lamp_of_the_test".to_owned();
    let found = ask(&mut front, InspectRequest { cursor_pos: code.len(), code, detail_level: Some(0) }).await;
    assert_eq!((&found["status"], &found["found"]), (&json!("ok"), &json!(true)));
    for (code, status) in [("let x = 1;", "complete"), ("fn foo(", "incomplete"), ("fn fn", "invalid")] {
        assert_eq!(ask(&mut front, IsCompleteRequest { code: code.to_owned() }).await["status"], status, "{code}");
    }
    let history = ask(&mut front, HistoryRequest::Tail { n: 1, output: false, raw: true }).await;
    assert_eq!(history["history"], json!([[1, 4, "1 + 1"]]));
    let comms = ask(&mut front, CommInfoRequest { target_name: None }).await;
    assert_eq!(comms, json!({"status": "ok", "comms": {}}));

    let (lines, reply) = front.run("fn fn").await;
    assert!(error_of(&reply).starts_with("CompileError"), "{reply:?}");
    assert!(lines[1].starts_with("error CompileError"), "{lines:?}");

    let code = "chandlery::display::emit(&MimeBundle::text(\"shown\"));";
    assert_eq!(run(&mut front, code, 6).await, [r#"display - "shown""#]);
    let code = "let mut bar = chandlery::display::Updating::new(); bar.update(|| MimeBundle::text(\"0 %\"));\n\
                bar.finish(&MimeBundle::text(\"100 %\"));";
    let lines = run(&mut front, code, 7).await;
    let id = lines[0].split(' ').nth(1).unwrap();
    assert_eq!(lines, [format!("display {id} \"0 %\""), format!("update {id} \"100 %\"")]);
    rich_results(&mut front).await;

    let asking = ExecuteRequest { allow_stdin: true, ..ExecuteRequest::new(READ.to_owned()) };
    let id = front.send(asking).await;
    let question = tokio::time::timeout(PATIENCE, front.stdin.read()).await.expect("no question").unwrap();
    let answer = InputReply { value: "\"Ada\"".to_owned(), ..Default::default() };
    front.stdin.send(JupyterMessage::new(answer, Some(&question))).await.unwrap();
    assert_eq!(execute_reply(front.reply(&id).await).status, ReplyStatus::Ok);
    assert_eq!(between(front.transcript(&id).await)[1..], [r#"stdout "\"Ada\"\n""#]);

    let unknown = CommOpen {
        comm_id: CommId("c".to_owned()),
        target_name: "nobody.knows".to_owned(),
        data: Default::default(),
        target_module: None,
    };
    let id = front.send(unknown).await;
    assert_eq!(front.transcript(&id).await, ["busy", "comm_close c", "idle"]);
    let id = front.send_control(InterruptRequest {}).await;
    assert!(matches!(front.control_reply(&id).await, M::InterruptReply(reply) if reply.status == ReplyStatus::Ok));
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    assert_eq!(run(&mut front, "lamp_of_the_test", 11).await, [r#"result 11 "1""#]);
    front.all_is_read().await;

    let id = front.send_control(ShutdownRequest { restart: false }).await;
    assert!(matches!(front.control_reply(&id).await, M::ShutdownReply(reply) if reply.status == ReplyStatus::Ok));
    assert!(kernel.ended());
}

/// A line from the user, through Rust's own standard input.
const READ: &str = "let mut line = String::new(); std::io::stdin().read_line(&mut line)?; print!(\"{line}\");";

/// Values that render as HTML, our way and evcxr's: results with the cell's number, not displays.
async fn rich_results(front: &mut FrontEnd) {
    let evcxr = "pub struct Html(pub &'static str);\nimpl Html {\n    pub fn evcxr_display(&self) {\n        \
                 println!(\"EVCXR_BEGIN_CONTENT text/html\\n{}\\nEVCXR_END_CONTENT\", self.0);\n    }\n}\n\
                 Html(\"<b>bold</b>\")";
    for (number, code) in [(8, "MimeBundle::text(\"bold\").with_html(\"<b>bold</b>\")"), (9, evcxr)] {
        let id = front.send(ExecuteRequest::new(code.to_owned())).await;
        assert_eq!(execute_reply(front.reply(&id).await).status, ReplyStatus::Ok);
        let mut results = BTreeMap::new();
        loop {
            let message = front.published_message().await;
            match message.content {
                M::ExecuteResult(ExecuteResult { data, execution_count, .. }) => {
                    assert_eq!(execution_count.0, number);
                    results.insert(number, serde_json::to_value(&data).unwrap());
                }
                other if line(&other) == "idle" => break,
                _ => {}
            }
        }
        assert_eq!(results[&number]["text/html"], "<b>bold</b>");
    }
}

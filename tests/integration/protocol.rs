//! The Jupyter protocol over real sockets, with the echo engine behind it.

use std::time::Duration;

use jupyter_protocol::{
    CommInfoRequest, CompleteRequest, ExecuteRequest, HistoryRequest, InputReply, InspectRequest, InterruptRequest,
    IsCompleteRequest, JupyterMessage, JupyterMessageContent as M, KernelInfoRequest, ReplyStatus, ShutdownRequest,
    UnknownMessage,
};
use jupyter_zmq_client as zmq;
use serde_json::{Value, json};
use tokio::time::timeout;
use zeromq::SocketRecv;

use chandlery_kernel::toolkit::BUILT_WITH;

use crate::front_end::{FrontEnd, PATIENCE, between, error_of, execute_reply};

fn value(content: &M) -> Value {
    serde_json::to_value(content).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kernel_info_describes_the_language() {
    let mut front = FrontEnd::start().await;
    let id = front.send(KernelInfoRequest {}).await;
    let info = value(&front.reply(&id).await);
    assert_eq!(info["status"], "ok");
    assert_eq!(info["language_info"]["name"], "rust");
    assert_eq!(info["language_info"]["file_extension"], ".rs");
    assert_eq!(info["protocol_version"], "5.5");
    assert_eq!(info["language_info"]["version"], BUILT_WITH.split(' ').nth(1).unwrap());
    for (key, means) in [("pygments_lexer", "rust"), ("codemirror_mode", "rust"), ("nbconvert_exporter", "script")] {
        assert_eq!(info["language_info"][key], means);
    }
    assert!(
        info["help_links"].as_array().unwrap().iter().all(|link| link["text"].is_string() && link["url"].is_string())
    );
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);

    // The crate `jupyter-protocol` does not have this field.
    let id = front.send(KernelInfoRequest {}).await;
    let frames = timeout(PATIENCE, front.shell.socket.recv()).await.unwrap().unwrap();
    let raw: Value = serde_json::from_slice(frames.iter().last().unwrap()).unwrap();
    assert_eq!(raw["supported_features"], json!(["kernel subshells"]));
    front.replied(&id);
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);

    let id = front.send_control(KernelInfoRequest {}).await;
    assert_eq!(value(&front.control_reply(&id).await)["implementation"], "chandlery");
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_come_in_order_and_before_idle() {
    let mut front = FrontEnd::start().await;
    let code = "write a\nprint b\neprint c\nshow d\nshow@p 0%\nupdate@p 100%\nclear wait\nprint e\nlast";
    let (lines, reply) = front.run(code).await;
    let expected = [
        &format!("input 1 {code:?}"),
        r#"stdout "ab\n""#,
        r#"stderr "c\n""#,
        r#"display - "d""#,
        r#"display p "0%""#,
        r#"update p "100%""#,
        "clear wait=true",
        r#"stdout "e\n""#,
        r#"result 1 "last""#,
    ];
    assert_eq!(lines, expected);
    assert_eq!((reply.status, reply.execution_count.0), (ReplyStatus::Ok, 1));
    assert_eq!(reply.user_expressions.unwrap().len(), 0);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_line_is_seen_while_the_cell_runs() {
    let mut front = FrontEnd::start().await;
    let id = front.send(ExecuteRequest::new("write 10%\nsleep 600\nwrite 20%".to_owned())).await;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some(r#"stdout "10%""#) {
        seen.push(front.published().await.1);
    }
    execute_reply(front.reply(&id).await);
    assert_eq!(front.transcript(&id).await, [r#"stdout "20%""#, "idle"]);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_cell_says_so_twice_and_aborts_the_queue() {
    let mut front = FrontEnd::start().await;
    let failing = front.send(ExecuteRequest::new("print a\nfail no luck".to_owned())).await;
    let behind = front.send(ExecuteRequest::new("print b".to_owned())).await;
    let reply = execute_reply(front.reply(&failing).await);
    assert_eq!(error_of(&reply), "Failed: no luck");
    assert!(reply.error.unwrap().traceback[1].contains("cell 1, line 2"));
    assert_eq!(execute_reply(front.reply(&behind).await).status, ReplyStatus::Aborted);
    let lines = between(front.transcript(&failing).await);
    assert_eq!(lines[1..], [r#"stdout "a\n""#, "error Failed: no luck"]);
    assert_eq!(front.transcript(&behind).await, ["busy", "idle"]);

    // What is sent after the reply was seen runs.
    let (lines, reply) = front.run("print c").await;
    assert_eq!(lines[1..], [r#"stdout "c\n""#]);
    assert_eq!(reply.execution_count.0, 2);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_goes_on_when_the_front_end_wants_it() {
    let mut front = FrontEnd::start().await;
    let request = ExecuteRequest { stop_on_error: false, ..ExecuteRequest::new("fail no luck".to_owned()) };
    let failing = front.send(request).await;
    let behind = front.send(ExecuteRequest::new("print b".to_owned())).await;
    assert_eq!(execute_reply(front.reply(&failing).await).status, ReplyStatus::Error);
    assert_eq!(execute_reply(front.reply(&behind).await).status, ReplyStatus::Ok);
    front.transcript(&failing).await;
    assert_eq!(between(front.transcript(&behind).await)[1..], [r#"stdout "b\n""#]);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_engine_does_not_hang_the_front_end() {
    let mut front = FrontEnd::start().await;
    let (lines, reply) = front.run("panic oh").await;
    assert!(error_of(&reply).starts_with("KernelFault: "));
    assert!(lines[1].contains("oh"), "{lines:?}");
    assert_eq!(front.run("x").await.0[1..], [r#"result 2 "x""#]);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_cells_show_nothing_and_only_stored_cells_count() {
    let mut front = FrontEnd::start().await;
    let silent = ExecuteRequest { silent: true, ..ExecuteRequest::new("print a\nvalue".to_owned()) };
    let (lines, reply) = front.run_request(silent).await;
    assert_eq!((lines.len(), reply.execution_count.0), (0, 0));
    let forgotten = ExecuteRequest { store_history: false, ..ExecuteRequest::new("print a".to_owned()) };
    assert_eq!(front.run_request(forgotten).await.0, [r#"input 0 "print a""#, r#"stdout "a\n""#]);
    assert_eq!(front.run("print b").await.1.execution_count.0, 1);
    assert_eq!(front.run("print c").await.1.execution_count.0, 2);

    let id = front.send(HistoryRequest::Tail { n: 10, output: false, raw: true }).await;
    assert_eq!(value(&front.reply(&id).await)["history"], json!([[1, 1, "print b"], [1, 2, "print c"]]));
    front.transcript(&id).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_code_are_answered_while_a_cell_runs() {
    let mut front = FrontEnd::start().await;
    let cell = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
    assert_eq!(front.published().await, (cell.clone(), "busy".to_owned()));
    assert!(front.published().await.1.starts_with("input 1"));

    // Positions are code points: each of these characters takes four bytes.
    let id = front.send(CompleteRequest { code: "😀😀 pr".to_owned(), cursor_pos: 5 }).await;
    let found = value(&front.reply(&id).await);
    assert_eq!(
        (&found["matches"], &found["cursor_start"], &found["cursor_end"]),
        (&json!(["print"]), &json!(3), &json!(5))
    );
    let mut asked = vec![id];
    let id = front.send(InspectRequest { code: "print x".to_owned(), cursor_pos: 2, detail_level: Some(0) }).await;
    assert_eq!(value(&front.reply(&id).await)["found"], true);
    asked.push(id);
    for (code, status) in [("print x", "complete"), ("print \\", "incomplete"), ("print )", "invalid")] {
        let id = front.send(IsCompleteRequest { code: code.to_owned() }).await;
        assert_eq!(value(&front.reply(&id).await)["status"], status);
        asked.push(id);
    }
    let id = front.send(CommInfoRequest { target_name: None }).await;
    assert_eq!(value(&front.reply(&id).await)["comms"], json!({}));
    asked.push(id);

    let stop = front.send_control(InterruptRequest {}).await;
    assert_eq!(value(&front.control_reply(&stop).await)["status"], "ok");
    assert_eq!(error_of(&execute_reply(front.reply(&cell).await)), "Interrupted: interrupted");
    // Whoever reads the kernel's state from it sees the cell's own status alone; the others follow its end.
    assert_eq!(front.transcript(&cell).await, ["error Interrupted: interrupted", "idle"]);
    for id in asked.into_iter().chain([stop]) {
        assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    }
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_or_asks_while_a_cell_runs_hears_busy() {
    let mut front = FrontEnd::start().await;
    let cell = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
    assert_eq!(front.published().await, (cell.clone(), "busy".to_owned()));
    assert!(front.published().await.1.starts_with("input 1"));
    let mut late = FrontEnd::connect(front.info.clone(), "late").await;
    assert_eq!(front.published().await.1, "iopub_welcome");
    for reader in [&mut front, &mut late] {
        assert_eq!(reader.published().await, (cell.clone(), "busy".to_owned()));
    }
    let info = late.send_control(KernelInfoRequest {}).await;
    assert_eq!(value(&late.control_reply(&info).await)["status"], "ok");
    for reader in [&mut front, &mut late] {
        assert_eq!(reader.published().await, (cell.clone(), "busy".to_owned()));
    }
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    execute_reply(front.reply(&cell).await);
    assert_eq!(front.transcript(&cell).await, ["error Interrupted: interrupted", "idle"]);
    assert_eq!(front.transcript(&info).await, ["busy", "idle"]);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_interrupt_and_interrupts_between_cells_do_nothing() {
    let mut front = FrontEnd::start().await;
    front.run("print a").await;
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(front.run("sleep 30").await.1.status, ReplyStatus::Ok);
    let id = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    assert_eq!(error_of(&execute_reply(front.reply(&id).await)), "Interrupted: interrupted");
    front.transcript(&id).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_mark_before_a_name_opens_the_pager() {
    let mut front = FrontEnd::start().await;
    let id = front.send(IsCompleteRequest { code: "?print".to_owned() }).await;
    assert_eq!(value(&front.reply(&id).await)["status"], "complete");
    front.transcript(&id).await;
    let (lines, reply) = front.run("?print").await;
    assert_eq!(lines, [r#"input 1 "?print""#]);
    let page = "`print` is a command of the echo engine";
    assert_eq!(
        serde_json::to_value(&reply.payload).unwrap(),
        json!([{"source": "page", "data": {"text/plain": page}, "start": 0}])
    );
    let (lines, reply) = front.run("?nothing").await;
    assert_eq!(lines[1..], [r#"stdout "`nothing` is not known\n""#]);
    assert_eq!((reply.status, reply.payload.len()), (ReplyStatus::Ok, 0));
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_ask_the_user() {
    let mut front = FrontEnd::start().await;
    let asking = ExecuteRequest { allow_stdin: true, ..ExecuteRequest::new("write name:\nask who".to_owned()) };
    let id = front.send(asking.clone()).await;
    let question = front.stdin.read().await.unwrap();
    assert_eq!(value(&question.content), json!({"prompt": "who", "password": false}));
    assert_eq!(question.parent_header.as_ref().unwrap().msg_id, id);
    let answer = InputReply { value: "Ada".to_owned(), ..Default::default() };
    front.stdin.send(JupyterMessage::new(answer, Some(&question))).await.unwrap();
    assert_eq!(execute_reply(front.reply(&id).await).status, ReplyStatus::Ok);
    assert_eq!(between(front.transcript(&id).await)[1..], [r#"stdout "name:""#, r#"stdout "Ada\n""#]);

    // A password is asked for as one; a reply without a text is not an answer.
    let secret = ExecuteRequest { allow_stdin: true, ..ExecuteRequest::new("secret key".to_owned()) };
    let id = front.send(secret).await;
    let question = front.stdin.read().await.unwrap();
    assert_eq!(value(&question.content), json!({"prompt": "key", "password": true}));
    let nonsense = UnknownMessage { msg_type: "input_reply".to_owned(), content: json!({"value": 3}) };
    front.stdin.send(JupyterMessage::new(M::UnknownMessage(nonsense), Some(&question))).await.unwrap();
    assert_eq!(error_of(&execute_reply(front.reply(&id).await)), "NoInput: nobody can be asked");
    front.transcript(&id).await;

    // A question ends with an interrupt, and is not asked where the front end cannot answer.
    let id = front.send(asking).await;
    front.stdin.read().await.unwrap();
    let stop = front.send_control(InterruptRequest {}).await;
    front.control_reply(&stop).await;
    assert_eq!(error_of(&execute_reply(front.reply(&id).await)), "NoInput: nobody can be asked");
    for _ in 0..7 {
        front.published().await;
    }
    assert_eq!(error_of(&front.run("ask who").await.1), "NoInput: nobody can be asked");
    front.finish().await;
}

/// A request to run a cell, then expressions.
fn with_expressions(code: &str, expressions: &[(&str, &str)]) -> ExecuteRequest {
    let expressions = expressions.iter().map(|&(name, code)| (name.to_owned(), code.to_owned())).collect();
    ExecuteRequest { user_expressions: Some(expressions), allow_stdin: true, ..ExecuteRequest::new(code.to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_evaluated_after_a_cell_and_not_shown() {
    let mut front = FrontEnd::start().await;
    let expressions = [
        ("asking", "ask who"),
        ("bad", "fail no luck"),
        ("empty", ""),
        ("fault", "panic oh"),
        ("good", "print noise\nshow noise\n6 × 7"),
        ("last", "after"),
    ];
    let (lines, reply) = front.run_request(with_expressions("print a", &expressions)).await;
    assert_eq!(lines, [r#"input 1 "print a""#, r#"stdout "a\n""#]);
    assert_eq!((reply.status, reply.execution_count.0), (ReplyStatus::Ok, 1));
    let values = serde_json::to_value(reply.user_expressions.unwrap()).unwrap();
    assert_eq!(values["good"], json!({"status": "ok", "data": {"text/plain": "6 × 7"}, "metadata": {}}));
    assert_eq!(values["last"]["data"]["text/plain"], "after");
    assert_eq!(values["empty"], json!({"status": "ok", "data": {}, "metadata": {}}));
    assert_eq!((&values["bad"]["status"], &values["bad"]["ename"]), (&json!("error"), &json!("Failed")));
    assert_eq!(values["bad"]["evalue"], "no luck");
    assert!(!values["bad"]["traceback"].as_array().unwrap().is_empty());
    assert_eq!(values["asking"]["ename"], "NoInput");
    assert_eq!(values["fault"]["ename"], "KernelFault");

    // Neither counted nor remembered.
    let id = front.send(HistoryRequest::Tail { n: 10, output: false, raw: true }).await;
    assert_eq!(value(&front.reply(&id).await)["history"], json!([[1, 1, "print a"]]));
    front.transcript(&id).await;
    assert_eq!(front.run("print b").await.1.execution_count.0, 2);

    let (_, reply) = front.run_request(with_expressions("fail it", &expressions)).await;
    assert_eq!(reply.status, ReplyStatus::Error);
    assert_eq!(reply.user_expressions.unwrap().len(), 0);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_the_expressions() {
    let mut front = FrontEnd::start().await;
    let request = with_expressions("print a", &[("a", "sleep 10000"), ("b", "sleep 10000"), ("c", "value")]);
    let id = front.send(request).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    let reply = execute_reply(front.reply(&id).await);
    assert_eq!(reply.status, ReplyStatus::Ok);
    let values = serde_json::to_value(reply.user_expressions.unwrap()).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(values[name]["ename"], "Interrupted", "{name}");
    }
    front.transcript(&id).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered() {
    let mut front = FrontEnd::start().await;
    for msg_type in ["debug_request", "never_heard_of_request"] {
        let request = UnknownMessage { msg_type: msg_type.to_owned(), content: json!({}) };
        let id = front.send_control(M::UnknownMessage(request)).await;
        let reply = front.control_reply(&id).await;
        assert_eq!(reply.message_type(), msg_type.replace("_request", "_reply"));
        assert_eq!(value(&reply)["status"], "error", "{msg_type}");
        assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    }
    // A request of old front ends.
    let id =
        front.send(M::UnknownMessage(UnknownMessage { msg_type: "connect_request".into(), content: json!({}) })).await;
    assert_eq!(value(&front.reply(&id).await)["hb_port"], 5);
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    // Not a request, so no reply, but its status is published.
    let id = front.send(M::UnknownMessage(UnknownMessage { msg_type: "gossip".into(), content: json!({}) })).await;
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    // Requests with malformed content, and one with fields left out.
    for (msg_type, content, status) in [
        ("inspect_request", json!({"code": "x", "cursor_pos": -1}), "error"),
        ("comm_info_request", json!({"target_name": 5}), "error"),
        ("is_complete_request", json!({"code": 7}), "unknown"),
        ("execute_request", json!({"code": 3}), "error"),
        ("execute_request", json!({"code": "print a"}), "ok"),
        ("history_request", json!({"hist_access_type": "search", "pattern": "*"}), "ok"),
        ("complete_request", json!({}), "error"),
    ] {
        let request = UnknownMessage { msg_type: msg_type.to_owned(), content };
        let id = front.send(M::UnknownMessage(request)).await;
        assert_eq!(value(&front.reply(&id).await)["status"], status, "{msg_type}");
        front.transcript(&id).await;
    }
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_monitors_read_memory_and_processor_time() {
    let mut front = FrontEnd::start().await;
    let mut usages = Vec::new();
    for _ in 0..2 {
        let request = UnknownMessage { msg_type: "usage_request".to_owned(), content: json!({}) };
        let id = front.send_control(M::UnknownMessage(request)).await;
        usages.push(value(&front.control_reply(&id).await));
        assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(400) {
            std::hint::black_box(started);
        }
    }
    let [first, second] = usages.as_slice() else { unreachable!() };
    assert_eq!((&first["status"], &first["pid"]), (&json!("ok"), &json!(std::process::id())));
    assert!(first["kernel_memory"].as_u64().unwrap() > 10 << 20, "{first}");
    assert!(second["kernel_cpu"].as_f64().unwrap() > 20.0, "{second}");
    let memory = &second["host_virtual_memory"];
    assert!(memory["available"].as_u64().unwrap() <= memory["total"].as_u64().unwrap(), "{memory}");
    assert!(second["cpu_count"].as_u64().unwrap() >= 1 && !second["hostname"].as_str().unwrap().is_empty(), "{second}");
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_wrong_signature_is_ignored() {
    let mut front = FrontEnd::start().await;
    let forged = jupyter_protocol::ConnectionInfo { key: "another key".to_owned(), ..front.info.clone() };
    let id = zmq::peer_identity_for_session("forger").unwrap();
    let mut shell = zmq::create_client_shell_connection_with_identity(&forged, "forger", id).await.unwrap();
    shell.send(JupyterMessage::new(ExecuteRequest::new("print a".to_owned()), None)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(front.run("print b").await.1.execution_count.0, 1);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_and_shutdown() {
    let mut front = FrontEnd::start().await;
    let mut heartbeat = zmq::create_client_heartbeat_connection(&front.info).await.unwrap();
    let cell = front.send(ExecuteRequest::new("sleep 10000".to_owned())).await;
    let queued =
        front.send(ExecuteRequest { stop_on_error: false, ..ExecuteRequest::new("sleep 10000".to_owned()) }).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    heartbeat.single_heartbeat().await.unwrap();

    // In the middle of a cell: the reply comes at once, the cells are ended, and the kernel is gone soon.
    let id = front.send_control(ShutdownRequest { restart: true }).await;
    assert_eq!(value(&front.control_reply(&id).await), json!({"restart": true, "status": "ok"}));
    assert_eq!(execute_reply(front.reply(&cell).await).status, ReplyStatus::Error);
    assert_eq!(execute_reply(front.reply(&queued).await).status, ReplyStatus::Aborted);
    front.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_what_and_where_as_fields() {
    let mut front = FrontEnd::start().await;
    let id = front.send(ExecuteRequest::new("fail no luck".to_owned())).await;
    front.reply(&id).await;
    let mut metadata = Vec::new();
    loop {
        let message = front.published_message().await;
        match message.message_type() {
            "status" if value(&message.content)["execution_state"] == "idle" => break,
            "error" => metadata.push(message.metadata),
            _ => assert_eq!(message.metadata, json!({})),
        }
    }
    let expected = json!({
        "kind": "error", "type": "Failed", "what": "no luck", "details": [],
        "origin": "cell 1, line 1", "advice": null,
    });
    assert_eq!(metadata, [json!({ "application/vnd.chandlery.error+json": expected })]);
    front.finish().await;
}

//! Subshells: cells of several shells of one kernel. The crate `jupyter-protocol` does not have their headers, so frames
//! are made here, for a kernel without a key.

use chandlery_kernel::session::History;
use jupyter_protocol::{ExecuteRequest, JupyterMessageContent as M, KernelInfoRequest, UnknownMessage};
use serde_json::{Value, json};
use zeromq::{SocketRecv, SocketSend, ZmqMessage};

use crate::front_end::FrontEnd;

async fn start() -> FrontEnd {
    FrontEnd::start_with(|info| info.key.clear(), History::default()).await
}

/// The header of a request in a subshell.
fn header(subshell: &str, id: &str, msg_type: &str) -> Value {
    json!({
        "msg_id": id, "session": "test", "username": "", "date": "2026-01-02T03:04:05Z", "msg_type": msg_type,
        "version": "5.5", "subshell_id": subshell, "of_a_later_version": [1],
    })
}

/// Sends a request in a subshell.
async fn send_in(front: &mut FrontEnd, subshell: &str, id: &str, msg_type: &str, content: Value) {
    let header = header(subshell, id, msg_type);
    let mut frames = ZmqMessage::from(b"<IDS|MSG>".to_vec());
    for frame in [Vec::new(), header.to_string().into(), b"{}".to_vec(), b"{}".to_vec(), content.to_string().into()] {
        frames.push_back(frame.into());
    }
    front.expect(id, msg_type);
    front.shell.socket.send(frames).await.unwrap();
}

async fn control(front: &mut FrontEnd, msg_type: &str, content: Value) -> Value {
    let request = UnknownMessage { msg_type: msg_type.to_owned(), content };
    let id = front.send_control(M::UnknownMessage(request)).await;
    let reply = serde_json::to_value(front.control_reply(&id).await).unwrap();
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    reply
}

async fn create(front: &mut FrontEnd) -> String {
    let reply = control(front, "create_subshell_request", json!({})).await;
    assert_eq!(reply["status"], "ok");
    reply["subshell_id"].as_str().unwrap().to_owned()
}

/// Starts a cell and waits until it runs.
async fn sleep(front: &mut FrontEnd, milliseconds: u32) -> String {
    let id = front.send(ExecuteRequest::new(format!("sleep {milliseconds}"))).await;
    assert_eq!(front.published().await, (id.clone(), "busy".to_owned()));
    assert!(front.published().await.1.starts_with("input"));
    id
}

/// The replies to these cells, in this order: status and number.
async fn replies(front: &mut FrontEnd, ids: &[&str]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for id in ids {
        let reply = serde_json::to_value(front.reply(id).await).unwrap();
        found.push((reply["status"].as_str().unwrap().to_owned(), reply["execution_count"].as_u64().unwrap()));
    }
    found
}

/// Reads iopub until as many requests are idle.
async fn idle(front: &mut FrontEnd, mut requests: usize) {
    while requests > 0 {
        requests -= usize::from(front.published().await.1 == "idle");
    }
}

fn ok(number: u64) -> (String, u64) {
    ("ok".to_owned(), number)
}

#[tokio::test(flavor = "multi_thread")]
async fn subshells_are_made_listed_and_deleted() {
    let mut front = start().await;
    let (a, b) = (create(&mut front).await, create(&mut front).await);
    assert_ne!(a, b);
    assert_eq!(control(&mut front, "list_subshell_request", json!({})).await["subshell_id"], json!([a, b]));
    assert_eq!(
        control(&mut front, "delete_subshell_request", json!({"subshell_id": a})).await,
        json!({"status": "ok"})
    );
    assert_eq!(control(&mut front, "list_subshell_request", json!({})).await["subshell_id"], json!([b]));
    for content in [json!({"subshell_id": a}), json!({})] {
        assert_eq!(control(&mut front, "delete_subshell_request", content).await["status"], "error");
    }

    send_in(&mut front, &a, "lost", "execute_request", json!({"code": "print x"})).await;
    let reply = serde_json::to_value(front.reply("lost").await).unwrap();
    assert_eq!((&reply["status"], &reply["ename"]), (&json!("error"), &json!("SubshellNotFound")));
    assert_eq!(front.transcript("lost").await, ["busy", "idle"]);
    front.finish().await;
}

/// Header and parent header of a message, with all their fields.
fn headers(frames: &ZmqMessage) -> (Value, Value) {
    let mut parts = frames.iter().skip_while(|frame| frame[..] != *b"<IDS|MSG>").skip(2);
    let mut next = || serde_json::from_slice(parts.next().unwrap()).unwrap();
    (next(), next())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_whole_header_of_the_request_as_parent() {
    let mut front = start().await;
    let shell = create(&mut front).await;
    let asked = header(&shell, "cell", "execute_request");
    let content = json!({"code": "print a\nask who", "allow_stdin": true});
    send_in(&mut front, &shell, "cell", "execute_request", content).await;
    let (question, parent) = headers(&front.stdin.socket.recv().await.unwrap());
    assert_eq!((&question["msg_type"], &parent), (&json!("input_request"), &asked));
    let mut answer = ZmqMessage::from(b"<IDS|MSG>".to_vec());
    let header = header(&shell, "answer", "input_reply").to_string();
    for frame in ["", &header, &question.to_string(), "{}", r#"{"value": "Ada"}"#] {
        answer.push_back(frame.as_bytes().to_vec().into());
    }
    front.stdin.socket.send(answer).await.unwrap();
    assert_eq!(headers(&front.shell.socket.recv().await.unwrap()).1, asked);
    for msg_type in ["status", "execute_input", "stream", "stream", "status"] {
        let (published, parent) = headers(&front.iopub.socket.recv().await.unwrap());
        assert_eq!((&published["msg_type"], &parent), (&json!(msg_type), &asked));
        assert_eq!(published["subshell_id"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_of_a_subshell_does_not_wait_for_the_whole_main_shell() {
    let mut front = start().await;
    let shell = create(&mut front).await;
    let running = sleep(&mut front, 500).await;
    let first = front.send(ExecuteRequest::new("print a".to_owned())).await;
    let second = front.send(ExecuteRequest::new("print b".to_owned())).await;
    send_in(&mut front, &shell, "aside", "execute_request", json!({"code": "print c"})).await;
    let order = [running.as_str(), &first, "aside", &second];
    assert_eq!(replies(&mut front, &order).await, [ok(1), ok(2), ok(3), ok(4)]);
    idle(&mut front, 4).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_aborts_what_waits_in_its_own_shell() {
    let mut front = start().await;
    let shell = create(&mut front).await;
    let running = sleep(&mut front, 500).await;
    send_in(&mut front, &shell, "failing", "execute_request", json!({"code": "fail it"})).await;
    send_in(&mut front, &shell, "behind", "execute_request", json!({"code": "print a"})).await;
    let main = front.send(ExecuteRequest::new("print b".to_owned())).await;
    let ended = replies(&mut front, &[&running, "failing", "behind", &main]).await;
    assert_eq!(ended, [ok(1), ("error".to_owned(), 2), ("aborted".to_owned(), 2), ok(3)]);
    idle(&mut front, 4).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subshells_are_answered_while_the_main_shell_runs() {
    let mut front = start().await;
    let shell = create(&mut front).await;
    let running = sleep(&mut front, 10_000).await;
    for (msg_type, content) in [
        ("kernel_info_request", json!({})),
        ("complete_request", json!({"code": "pr", "cursor_pos": 2})),
        ("inspect_request", json!({"code": "print", "cursor_pos": 2})),
        ("history_request", json!({"hist_access_type": "tail", "n": 1})),
        ("comm_info_request", json!({})),
        ("is_complete_request", json!({"code": "print a"})),
    ] {
        send_in(&mut front, &shell, msg_type, msg_type, content).await;
        let status = serde_json::to_value(front.reply(msg_type).await).unwrap()["status"].clone();
        assert!(status == "ok" || status == "complete", "{msg_type}: {status}");
        if msg_type == "kernel_info_request" {
            assert_eq!(front.published().await, (running.clone(), "busy".to_owned()));
        }
    }
    let told = |id: &str| (id.to_owned(), r#"comm_msg pane {"variables":[]}"#.to_owned());
    let open = json!({"comm_id": "pane", "target_name": "chandlery.variables", "data": {}});
    send_in(&mut front, &shell, "open", "comm_open", open).await;
    assert_eq!(front.published().await, told("open"));
    let refresh = json!({"comm_id": "pane", "data": {"method": "refresh"}});
    send_in(&mut front, &shell, "refresh", "comm_msg", refresh).await;
    assert_eq!(front.published().await, told("refresh"));
    send_in(&mut front, &shell, "close", "comm_close", json!({"comm_id": "pane", "data": {}})).await;

    // Deleting the subshell answers what waits in it.
    send_in(&mut front, &shell, "waiting", "execute_request", json!({"code": "print a"})).await;
    // What is sent on another socket may overtake it: it has arrived once the next request on its own is answered.
    let next = front.send(KernelInfoRequest {}).await;
    front.reply(&next).await;
    assert_eq!(front.published().await, (running.clone(), "busy".to_owned()));
    let deleted = UnknownMessage { msg_type: "delete_subshell_request".into(), content: json!({"subshell_id": shell}) };
    let deleted = front.send_control(M::UnknownMessage(deleted)).await;
    front.control_reply(&deleted).await;
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    let ended = replies(&mut front, &[&running, "waiting"]).await;
    assert_eq!((ended[0].0.as_str(), ended[1].0.as_str()), ("error", "aborted"));
    // The cell, the messages while it ran, and the cell that waited.
    assert_eq!(front.transcript(&running).await.last().unwrap(), "idle");
    idle(&mut front, 6 + 3 + 2 + 1).await;
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_wait_for_idle_get_it_and_the_busy_again() {
    let mut front = start().await;
    let running = sleep(&mut front, 10_000).await;
    let mut header = header("", "asked", "complete_request");
    (header["subshell_id"], header["version"]) = (Value::Null, json!("5.2"));
    let content = json!({"code": "pr", "cursor_pos": 2}).to_string();
    let mut frames = ZmqMessage::from(b"<IDS|MSG>".to_vec());
    for frame in ["", &header.to_string(), "{}", "{}", &content] {
        frames.push_back(frame.as_bytes().to_vec().into());
    }
    front.expect("asked", "complete_request");
    front.shell.socket.send(frames).await.unwrap();
    front.reply("asked").await;
    for (id, status) in [("asked", "busy"), ("asked", "idle"), (running.as_str(), "busy")] {
        assert_eq!(front.published().await, (id.to_owned(), status.to_owned()));
    }
    front.outside.send(chandlery_kernel::server::Outside::Interrupt).unwrap();
    replies(&mut front, &[&running]).await;
    idle(&mut front, 1).await;
    front.finish().await;
}

//! Comms: one with a known target gets messages; every other one is closed.

use jupyter_protocol::{CommClose, CommId, CommInfoRequest, CommMsg, CommOpen, UnknownMessage};
use serde_json::{Map, Value, json};

use crate::front_end::{FrontEnd, between, line};

fn id(id: &str) -> CommId {
    CommId(id.to_owned())
}

fn open(comm: &str, target: &str) -> CommOpen {
    CommOpen { comm_id: id(comm), target_name: target.to_owned(), data: Map::new(), target_module: None }
}

fn says(comm: &str, data: Value) -> CommMsg {
    CommMsg { comm_id: id(comm), data: data.as_object().unwrap().clone() }
}

async fn open_comms(front: &mut FrontEnd, target: Option<&str>) -> Value {
    let id = front.send(CommInfoRequest { target_name: target.map(str::to_owned) }).await;
    let reply = serde_json::to_value(front.reply(&id).await).unwrap();
    assert_eq!(front.transcript(&id).await, ["busy", "idle"]);
    reply["comms"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pane_of_variables_is_told_after_every_cell() {
    let mut front = FrontEnd::start().await;
    front.run("set a 1").await;
    let a = json!({"name": "a", "type": "text", "value": "1"});
    let b = json!({"name": "b", "type": "text", "value": "2"});

    let opened = front.send(open("pane", "chandlery.variables")).await;
    let told = format!("comm_msg pane {}", json!({"variables": [a]}));
    assert_eq!(between(front.transcript(&opened).await), std::slice::from_ref(&told));
    assert_eq!(open_comms(&mut front, None).await, json!({"pane": {"target_name": "chandlery.variables"}}));
    assert_eq!(open_comms(&mut front, Some("other")).await, json!({}));

    // After what the cell shows and before its idle, also when it fails.
    let (lines, _) = front.run("set b 2\nprint x").await;
    let both = format!("comm_msg pane {}", json!({"variables": [a, b]}));
    assert_eq!(lines[1..], [r#"stdout "x\n""#.to_owned(), both.clone()]);
    let (lines, _) = front.run("fail it").await;
    assert_eq!(lines[1..], ["error Failed: it".to_owned(), both.clone()]);

    let refresh = front.send(says("pane", json!({"method": "refresh"}))).await;
    assert_eq!(between(front.transcript(&refresh).await), [both]);
    let wrong = front.send(says("pane", json!({"method": "sort"}))).await;
    assert!(between(front.transcript(&wrong).await)[0].contains("refresh"));

    let closed = front.send(CommClose { comm_id: id("pane"), data: Map::new() }).await;
    assert_eq!(front.transcript(&closed).await, ["busy", "idle"]);
    assert_eq!(front.run("print x").await.0[1..], [r#"stdout "x\n""#]);
    assert_eq!(open_comms(&mut front, None).await, json!({}));
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_target_or_comm_is_closed() {
    let mut front = FrontEnd::start().await;
    let opened = front.send(open("c", "jupyter.widget")).await;
    assert_eq!(front.transcript(&opened).await, ["busy", "comm_close c", "idle"]);
    let spoken = front.send(says("never-opened", json!({}))).await;
    assert_eq!(front.transcript(&spoken).await, ["busy", "comm_close never-opened", "idle"]);
    for msg_type in ["comm_open", "comm_msg", "comm_close"] {
        let without_id = UnknownMessage { msg_type: msg_type.to_owned(), content: json!({}) };
        let sent = front.send(jupyter_protocol::JupyterMessageContent::UnknownMessage(without_id)).await;
        assert_eq!(front.transcript(&sent).await, ["busy", "idle"], "{msg_type}");
    }
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comms_are_closed_when_the_kernel_ends() {
    let mut front = FrontEnd::start().await;
    let opened = front.send(open("pane", "chandlery.variables")).await;
    front.transcript(&opened).await;
    front.outside.send(chandlery_kernel::server::Outside::Stop).unwrap();
    let message = front.published_message().await;
    assert_eq!(line(&message.content), "comm_close pane");
    front.ended().await;
}

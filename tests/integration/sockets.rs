//! The sockets: several clients at once, invalid messages, and replayed messages.

use std::time::Duration;

use chandlery_kernel::client::{ipc, tcp};
use chandlery_kernel::session::History;
use jupyter_protocol::{
    ConnectionInfo, ExecuteRequest, HistoryRequest, InputReply, JupyterMessage, KernelInfoRequest, ReplyStatus,
};
use jupyter_zmq_client as zmq;
use serde_json::json;
use tokio::time::timeout;
use zeromq::{Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::front_end::{FrontEnd, PATIENCE, execute_reply};

#[tokio::test(flavor = "multi_thread")]
async fn several_clients_share_a_kernel_over_tcp() {
    let address = tcp().await.unwrap();
    let mut first = FrontEnd::start_with(|info| *info = address, History::default()).await;
    let mut second = FrontEnd::connect(first.info.clone(), "second").await;
    // A welcome goes to whoever reads its topic.
    assert_eq!(first.published().await, (String::new(), "iopub_welcome".to_owned()));

    // The client that asked gets the reply; all of them see the output, with its parent.
    let asking = ExecuteRequest { allow_stdin: true, ..ExecuteRequest::new("ask who".to_owned()) };
    let cell = first.send(asking).await;
    let question = timeout(PATIENCE, first.stdin.read()).await.unwrap().unwrap();
    let info = second.send(KernelInfoRequest {}).await;
    second.reply(&info).await;
    let waiting = second.send(ExecuteRequest::new("print b".to_owned())).await;
    let answer = InputReply { value: "Ada".to_owned(), ..Default::default() };
    first.stdin.send(JupyterMessage::new(answer, Some(&question))).await.unwrap();
    assert_eq!(execute_reply(first.reply(&cell).await).execution_count.0, 1);
    assert_eq!(execute_reply(second.reply(&waiting).await).execution_count.0, 2);

    let mut seen = [Vec::new(), Vec::new()];
    for (front, seen) in [&mut first, &mut second].into_iter().zip(&mut seen) {
        while seen.iter().filter(|(_, line)| line == "idle").count() < 3 {
            seen.push(front.published().await);
        }
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].contains(&(cell, r#"stdout "Ada\n""#.to_owned())));
    assert!(seen[0].contains(&(waiting, r#"stdout "b\n""#.to_owned())));
    second.all_is_read().await;
    first.finish().await;
}

fn frames(parts: &[&[u8]]) -> ZmqMessage {
    let mut message = ZmqMessage::from(parts[0].to_vec());
    parts[1..].iter().for_each(|part| message.push_back(part.to_vec().into()));
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_are_dropped() {
    let mut front = FrontEnd::start().await;
    for address in [front.info.shell_url(), front.info.control_url(), front.info.stdin_url()] {
        let mut socket = zeromq::DealerSocket::new();
        socket.connect(&address).await.unwrap();
        for parts in [
            &[b"hello".as_slice()][..],
            &[b"<IDS|MSG>"],
            &[b"<IDS|MSG>", b"00"],
            &[b"<IDS|MSG>", b"00", b"{}", b"{}"],
            &[b"<IDS|MSG>", b"no hexadecimal", b"{}", b"{}", b"{}", b"{}"],
            &[b"<IDS|MSG>", b"00", b"{}", b"{}", b"{}", b"{}"],
            &[b"", b"\xff\xfe", b"<IDS|MSG>", b"", b"\xff", b"", b"", b"", b""],
        ] {
            socket.send(frames(parts)).await.unwrap();
        }
        let quiet = timeout(Duration::from_millis(30), socket.recv()).await;
        assert!(quiet.is_err(), "an answer: {quiet:?}");
    }
    assert_eq!(front.run("print a").await.1.execution_count.0, 1);
    front.finish().await;

    // Without signatures, headers and contents may still be anything.
    let mut front = FrontEnd::start_with(|info| info.key.clear(), History::default()).await;
    let header = json!({
        "msg_id": "1", "session": "s", "username": "", "date": "yesterday", "msg_type": "execute_request", "version": "5",
    });
    let mut socket = zeromq::DealerSocket::new();
    socket.connect(&front.info.shell_url()).await.unwrap();
    socket.send(frames(&[b"<IDS|MSG>", b"", b"no json", b"{}", b"{}", b"{}"])).await.unwrap();
    socket.send(frames(&[b"<IDS|MSG>", b"", header.to_string().as_bytes(), b"{}", b"{}", b"no json"])).await.unwrap();
    let reply = timeout(PATIENCE, socket.recv()).await.unwrap().unwrap();
    let content = reply.iter().last().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(content).unwrap()["ename"], "MalformedRequest");
    for line in ["busy", "idle"] {
        assert_eq!(front.published().await, ("1".to_owned(), line.to_owned()));
    }
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_message_is_ignored() {
    let mut front = FrontEnd::start().await;
    // An attacker between a client and the kernel.
    let folder = tempfile::tempdir().unwrap();
    let between = ConnectionInfo { key: front.info.key.clone(), ..ipc(folder.path()) };
    let mut ear = zeromq::RouterSocket::new();
    ear.bind(&between.shell_url()).await.unwrap();
    let id = zmq::peer_identity_for_session("client").unwrap();
    let mut client = zmq::create_client_shell_connection_with_identity(&between, "client", id).await.unwrap();
    let request = JupyterMessage::new(ExecuteRequest::new("print a".to_owned()), None);
    let cell = request.header.msg_id.clone();
    client.send(request).await.unwrap();
    let heard = timeout(PATIENCE, ear.recv()).await.unwrap().unwrap();
    let recorded = ZmqMessage::try_from(heard.into_vec().split_off(1)).unwrap();

    // On shell twice, and once on control: the signature is the same everywhere.
    let mut shell = zeromq::DealerSocket::new();
    shell.connect(&front.info.shell_url()).await.unwrap();
    let mut control = zeromq::DealerSocket::new();
    control.connect(&front.info.control_url()).await.unwrap();
    shell.send(recorded.clone()).await.unwrap();
    for line in ["busy", "input 1 \"print a\"", "stdout \"a\\n\"", "idle"] {
        assert_eq!(front.published().await, (cell.clone(), line.to_owned()));
    }
    shell.send(recorded.clone()).await.unwrap();
    control.send(recorded).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(front.run("print b").await.1.execution_count.0, 2);
    front.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_outlives_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let mut front = FrontEnd::start_remembering(file.clone()).await;
    front.run("print a").await;
    front.run("value").await;
    front.finish().await;

    let mut front = FrontEnd::start_remembering(file).await;
    assert_eq!(front.run("print b").await.1.status, ReplyStatus::Ok);
    let id = front.send(HistoryRequest::Tail { n: 2, output: true, raw: true }).await;
    let reply = serde_json::to_value(front.reply(&id).await).unwrap();
    assert_eq!(reply["history"], json!([[1, 2, ["value", "value"]], [2, 1, ["print b", ""]]]));
    front.transcript(&id).await;
    front.finish().await;
}

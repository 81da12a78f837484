//! The client side of the protocol: finding, starting and asking kernels, like a front end.

mod kernelspec;
mod peer;

use std::path::Path;

use jupyter_protocol::ConnectionInfo;
use jupyter_protocol::connection_info::Transport;
use jupyter_zmq_client as zmq;

pub use kernelspec::Kernelspec;
pub use peer::Peer;

/// The sockets of one front end.
pub struct Client {
    /// Requests, and their replies.
    pub shell: zmq::ClientShellConnection,
    /// Requests that overtake those on `shell`.
    pub control: zmq::ClientControlConnection,
    /// Messages to all front ends.
    pub iopub: zmq::ClientIoPubConnection,
    /// Questions to the user.
    pub stdin: zmq::ClientStdinConnection,
    /// The kernel's sockets.
    pub info: ConnectionInfo,
}

impl Client {
    /// Connects to a kernel. Waits for its sockets, but not for the kernel to accept the connection.
    ///
    /// # Errors
    /// An error of the sockets.
    pub async fn connect(info: ConnectionInfo, session: &str) -> Result<Self, zmq::RuntimeError> {
        // The same on shell and stdin, so that the client that asks gets the questions.
        let id = zmq::peer_identity_for_session(session)?;
        Ok(Self {
            iopub: zmq::create_client_iopub_connection(&info, "", session).await?,
            shell: zmq::create_client_shell_connection_with_identity(&info, session, id.clone()).await?,
            control: zmq::create_client_control_connection(&info, session).await?,
            stdin: zmq::create_client_stdin_connection_with_identity(&info, session, id).await?,
            info,
        })
    }
}

/// Returns sockets in a folder.
pub fn ipc(folder: &Path) -> ConnectionInfo {
    ConnectionInfo {
        ip: folder.join("k").display().to_string(),
        transport: Transport::IPC,
        shell_port: 1,
        iopub_port: 2,
        stdin_port: 3,
        control_port: 4,
        hb_port: 5,
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".to_owned(),
        kernel_name: None,
    }
}

/// Returns sockets on ports of this machine that were free a moment ago.
///
/// # Errors
/// If no port is free.
pub async fn tcp() -> Result<ConnectionInfo, zmq::RuntimeError> {
    let ports = zmq::peek_ports([127, 0, 0, 1].into(), 5).await?;
    Ok(ConnectionInfo {
        ip: "127.0.0.1".to_owned(),
        transport: Transport::TCP,
        shell_port: ports[0],
        iopub_port: ports[1],
        stdin_port: ports[2],
        control_port: ports[3],
        hb_port: ports[4],
        ..ipc(Path::new(""))
    })
}

//! The messages between the engine and the worker: JSON frames with a length prefix, over a socket pair.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use chandlery::cell::{Ending, Variable};
use chandlery::display::MimeBundle;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// From the engine to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerRequest {
    /// Load a compiled cell and run it.
    Cell {
        /// The shared object.
        library: PathBuf,
        /// Variables whose types have another identity in this cell, but the same meaning.
        vouched: Vec<String>,
    },
    /// Run a magic.
    Magic {
        /// The line, without its `%`.
        line: String,
    },
    /// Read a magic and record the type of its result, without running it.
    Check {
        /// The line, without its `%`.
        line: String,
    },
    /// Load a library that cells link to.
    Library {
        /// The shared object.
        library: PathBuf,
    },
    /// Run a shell script, in the worker's folder and with its environment.
    Shell {
        /// The shell: `bash` or `sh`.
        shell: String,
        /// The script.
        script: String,
    },
    /// Show the variables.
    List {
        /// The cells that made them.
        cells: Vec<(String, u32)>,
    },
    /// Drop every variable.
    Reset,
    /// Drop every variable, the newest first, and exit.
    End,
    /// Drop variables.
    Forget {
        /// Their names.
        names: Vec<String>,
    },
    /// A display was forwarded; the worker may go on.
    Forwarded,
    /// What the user typed.
    Answer {
        /// The line; `None` if nobody could be asked.
        text: Option<String>,
    },
}

/// From the worker to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The worker is up.
    Ready {
        /// Internal type names and the paths by which cells name them.
        type_paths: Vec<(String, String)>,
    },
    /// Show a new output.
    Display {
        /// Its renderings.
        data: MimeBundle,
        /// The id for later updates.
        id: Option<String>,
    },
    /// Replace outputs.
    Update {
        /// The renderings.
        data: MimeBundle,
        /// The id.
        id: String,
    },
    /// Clear the cell's outputs.
    Clear {
        /// Whether to wait for the next one.
        wait: bool,
    },
    /// Show a new output, like [`Display`](Self::Display), but the worker does not wait until it is forwarded: the next message
    /// is on this socket as well.
    Shown {
        /// Its renderings.
        data: MimeBundle,
    },
    /// The value of the last expression. The worker does not wait until it is forwarded.
    Result {
        /// Its renderings.
        data: MimeBundle,
    },
    /// Ask the user.
    Ask {
        /// The prompt.
        prompt: String,
        /// Whether typing is hidden.
        password: bool,
    },
    /// The request is done, and all its text is in the pipes.
    Done {
        /// How it ended.
        ending: Ending,
        /// Every variable now stored.
        variables: Vec<Variable>,
        /// How long loading a cell took.
        load: Duration,
        /// How long the request ran, without loading.
        run: Duration,
    },
}

/// A larger frame means that the stream is broken.
const MAX_FRAME: u32 = 1 << 30;

/// Writes one frame.
///
/// # Errors
/// The stream's error, or a value that JSON cannot represent.
pub fn write<T: Serialize>(stream: &mut impl Write, value: &T) -> std::io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(|_| std::io::Error::other("a frame above 4 GB"))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame)
}

/// Reads one frame.
///
/// # Errors
/// The stream's error (`UnexpectedEof` when the other side is gone), or bytes that are not a frame.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> std::io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME {
        return Err(std::io::Error::other("a frame with an impossible length"));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut bytes = Vec::new();
        let sent = Report::Display { data: MimeBundle::text("ä"), id: Some("x".into()) };
        write(&mut bytes, &sent).unwrap();
        assert_eq!(read::<Report>(&mut bytes.as_slice()).unwrap(), sent);
        bytes.pop();
        assert!(read::<Report>(&mut bytes.as_slice()).is_err());
    }
}

//! The two ends of a connection that each follow a script (`programs/peer.py`).

use anyhow::Result;
use serde_json::{Value, json};
use wirespan_tests::{
    cgroup::Cgroup,
    machine,
    process::{Launch, Process},
    stage::{self, Stage},
};

/// Waits until the text has come.
pub(crate) fn until(text: &str) -> Value {
    json!(["until", text])
}

/// Sends text.
pub(crate) fn send(text: &str) -> Value {
    json!(["send", text])
}

/// Sends this many bytes of body.
pub(crate) fn fill(size: usize) -> Value {
    json!(["fill", size])
}

/// Sends text and this many bytes of body in one system call, which may end in a reset.
pub(crate) fn flood(text: &str, size: usize) -> Value {
    json!(["flood", text, size])
}

/// Few bytes are on their way at a time from here on: a large body waits for its reader.
pub(crate) fn narrow() -> Value {
    json!(["narrow"])
}

/// Receives this many bytes in one system call, which may end in a reset.
pub(crate) fn whole(size: usize) -> Value {
    json!(["whole", size])
}

/// Goes on with what follows while another thread does this.
pub(crate) fn beside(action: &Value) -> Value {
    json!(["beside", action])
}

/// Waits for those threads.
pub(crate) fn joined() -> Value {
    json!(["joined"])
}

/// Waits until the other side has read everything.
pub(crate) fn consumed() -> Value {
    json!(["consumed"])
}

/// Receives this many bytes.
pub(crate) fn read(size: usize) -> Value {
    json!(["read", size])
}

/// Receives until the other side closes.
pub(crate) fn eof() -> Value {
    json!(["eof"])
}

/// Waits until the other side has closed, and reads nothing.
pub(crate) fn left() -> Value {
    json!(["left"])
}

/// Closes with a reset.
pub(crate) fn reset() -> Value {
    json!(["reset"])
}

/// Waits until a file exists.
pub(crate) fn wait(path: &std::path::Path) -> Value {
    json!(["wait", path])
}

/// Makes a file, for the end that waits for it.
pub(crate) fn touch(path: &std::path::Path) -> Value {
    json!(["touch", path])
}

/// Where a scripted connection goes.
pub(crate) struct Place<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) address: &'a str,
    pub(crate) port: u16,
}

impl<'a> Place<'a> {
    /// Both ends in the stage's cgroup, on `127.0.0.1`.
    pub(crate) fn local(stage: &'a Stage) -> Self {
        Self {
            stage,
            cgroup: Some(&stage.cgroup),
            namespace: None,
            address: "127.0.0.1",
            port: stage::port(),
        }
    }

    fn start(&self, role: &str, script: &[Vec<Value>]) -> Result<Process> {
        let path = self.stage.file("peer.py", include_str!("../../programs/peer.py"))?;
        let mut launch = Launch::new(machine::python()).arg(path).args([role, self.address]);
        launch = launch.arg(self.port.to_string()).arg(json!(script).to_string()).namespace(self.namespace);
        if let Some(cgroup) = self.cgroup {
            launch = launch.inside(cgroup);
        }
        launch.start(self.stage.dir())
    }

    /// The listening end: one script per connection, one after the other.
    pub(crate) fn listen(&self, script: &[Vec<Value>]) -> Result<Process> {
        let mut process = self.start("listen", script)?;
        process.says("listening")?;
        Ok(process)
    }

    /// The connecting end, likewise.
    pub(crate) fn connect(&self, script: &[Vec<Value>]) -> Result<Process> {
        self.start("connect", script)
    }

    /// One connection from beginning to end.
    pub(crate) fn play(&self, server: Vec<Value>, client: Vec<Value>) -> Result<()> {
        let listener = self.listen(&[server])?;
        let connector = self.connect(&[client])?;
        connector.finish()?;
        listener.finish().map(drop)
    }
}

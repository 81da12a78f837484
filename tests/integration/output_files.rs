//! Files that commands write: modes, links, pipes and devices.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use chandlery::checkpoint::OutputFile;
use chandlery_tests::{entries, fixture};

use crate::kernel_process::program;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        entries(self.0.path())
    }
}

#[test]
fn a_regular_file_keeps_its_mode_and_its_links() {
    let folder = Folder::new();
    let (file, link, hard) = (folder.path("file"), folder.path("link"), folder.path("hard"));
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    OutputFile::probe(&link).unwrap().write(b"through the link").unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("file"));
    assert_eq!(std::fs::read(&file).unwrap(), b"through the link");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    std::fs::hard_link(&file, &hard).unwrap();
    OutputFile::probe(&file).unwrap().write(b"new").unwrap();
    assert_eq!(std::fs::read(&hard).unwrap(), b"new", "both names are one file still");
    assert_eq!(folder.names(), ["file", "hard", "link"]);
}

#[test]
fn a_link_to_nothing_leads_to_the_new_file() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("new", folder.path("link")).unwrap();
    std::os::unix::fs::symlink("circle", folder.path("circle")).unwrap();
    OutputFile::probe(&folder.path("link")).unwrap().write(b"x").unwrap();
    assert_eq!(std::fs::read(folder.path("new")).unwrap(), b"x");
    assert!(OutputFile::probe(&folder.path("circle")).is_err());
    assert_eq!(folder.names(), ["circle", "link", "new"]);
}

#[test]
fn a_pipe_is_written_to_and_stays_a_pipe() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let read = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    let output = OutputFile::probe(&pipe).unwrap();
    assert!(!output.is_file() && !output.is_same(&output), "it takes what several outputs write");
    output.write(b"all of it").unwrap();
    assert_eq!(read.join().unwrap(), "all of it");
    assert!(std::fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn unwritable_outputs_are_refused_before_the_work() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "kept").unwrap();
    for (path, why) in [
        (folder.path(""), "name a file"),
        (folder.path("new/"), "name a file"),
        (folder.path("missing/file"), "mkdir -p"),
        (folder.path("file/below"), "writing failed"),
        (PathBuf::new(), "writing failed"),
    ] {
        let error = OutputFile::probe(&path).unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", path.display());
    }
    assert!(OutputFile::probe_with_folders(&folder.path("file/below/it")).is_err());
    let deep = OutputFile::probe_with_folders(&folder.path("a/b/c")).unwrap();
    assert_eq!(folder.names(), ["file"], "probing leaves nothing");
    deep.write(b"x").unwrap();
    assert_eq!(std::fs::read(folder.path("a/b/c")).unwrap(), b"x");
}

#[test]
fn standard_output_has_several_names() {
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(OutputFile::probe(Path::new(name)).unwrap().is_stdout(), "{name}");
    }
    let null = OutputFile::probe(Path::new("/dev/null")).unwrap();
    assert!(!null.is_stdout() && !null.is_file());
}

#[test]
fn logits_are_written_to_where_they_can_be() {
    let folder = Folder::new();
    let model = fixture("llama-gqa");
    std::fs::write(folder.path("ids.json"), "[[1, 2, 3]]").unwrap();
    let logits = |output: &str| {
        let words = ["logits", model.to_str().unwrap(), "--input-ids", "ids.json", "-o", output];
        Command::new(program()).args(words).current_dir(folder.0.path()).output().unwrap()
    };
    for output in ["missing/out.safetensors", "ids.json/out.safetensors", "."] {
        let done = logits(output);
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(1) && said.contains("where: ") && said.contains("do: "), "{output}: {said}");
    }
    assert!(logits("out.safetensors").status.success());
    let done = logits("-");
    assert!(done.status.success());
    assert_eq!(done.stdout, std::fs::read(folder.path("out.safetensors")).unwrap(), "nothing else is written there");
    assert_eq!(folder.names(), ["ids.json", "out.safetensors"]);
}

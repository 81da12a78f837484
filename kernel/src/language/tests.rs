//! Stand-ins for the language process: its failures must not affect the kernel.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::private_folder::PrivateFolder;

/// It is told how to start, and ready at once.
const READY: &str = "read start; echo '{\"ready\":{\"milliseconds\":1,\"dependencies\":[],\"more\":false}}'";
const ANSWER: &str = "echo '{\"inspection\":{\"id\":1,\"html\":\"<p>late</p>\"}}'";

/// Generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct StandIn {
    folder: PrivateFolder,
    language: Language,
}

impl StandIn {
    /// A process that runs this script, in which `$LOG` is a file for notes.
    fn new(script: &str, limits: Limits) -> Self {
        let folder = PrivateFolder::fresh(&std::env::temp_dir()).unwrap();
        let text = format!("#!/bin/sh\nLOG={}/log\n{script}\n", folder.path().display());
        // Written by another process: a file that this one has open for writing cannot be executed, and a thread that
        // starts a process at this moment would keep it open.
        let write = "printf %s \"$1\" > \"$0\" && chmod +x \"$0\"";
        let program = folder.path().join(PROGRAM);
        assert!(Command::new("sh").args(["-c", write]).arg(&program).arg(text).status().unwrap().success());
        let mut language = Language::new(&folder.path().join("chandlery"), Some("/usr/bin/rustc".into()));
        // Independent of the environment.
        language.state = Mutex::new(State::Idle);
        language.limits = limits;
        Self { folder, language }
    }

    /// Returns the lines of its log.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ask(&self) -> Option<LanguageReply> {
        self.language.ask("spots.", 6, true, Instant::now())
    }

    /// Asks until a condition holds.
    fn until(&self, what: &str, mut is: impl FnMut(Option<LanguageReply>) -> bool) {
        let began = Instant::now();
        while !is(self.ask()) {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}, {:?}", self.language.problem(), self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn id(&self) -> Option<u32> {
        self.language.running().map(|(id, _)| id)
    }

    fn is_ready(&self) -> bool {
        self.language.running().is_some_and(|(_, ready)| ready.is_some())
    }
}

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn nobody_waits_for_a_process_that_is_not_ready() {
    let stand_in = StandIn::new("cat > /dev/null", LIMITS);
    let began = Instant::now();
    assert_eq!((stand_in.ask(), stand_in.ask()), (None, None));
    assert!(began.elapsed() < LIMITS.answer, "{:?}", began.elapsed());
    assert!(stand_in.id().is_some() && !stand_in.is_ready());
}

#[test]
fn an_answer_that_comes_too_late_serves_the_same_question_later() {
    let script = format!(
        "{READY}\nread question\necho \"$question\" >> $LOG\n\
         while [ ! -e $LOG.go ]; do sleep 0.01; done\n{ANSWER}\nwhile read question; do echo \"$question\" >> $LOG; done"
    );
    let stand_in = StandIn::new(&script, Limits { answer: SHORT, ..LIMITS });
    stand_in.until("it is not asked", |answer| {
        assert_eq!(answer, None, "nothing was answered yet");
        !stand_in.log().is_empty()
    });
    std::fs::write(stand_in.folder.path().join("log.go"), "").unwrap();
    let late = LanguageReply::Inspection { id: 1, html: "<p>late</p>".to_owned() };
    stand_in.until("the late answer is lost", |answer| answer.as_ref() == Some(&late));
    assert_eq!(stand_in.ask(), Some(late), "and it is kept");
    // The question was sent once, and another is sent.
    assert_eq!(stand_in.language.ask("spots.l", 7, true, Instant::now()), None);
    stand_in.until("another question is not sent", |_| stand_in.log().len() == 2);
    assert!(stand_in.log()[1].contains("spots.l"), "{:?}", stand_in.log());
}

#[test]
fn a_process_that_hangs_is_restarted_a_few_times() {
    // It reads nothing, so that its pipe is full in the end.
    let stand_in = StandIn::new(
        &format!("echo started >> $LOG\n{READY}\nexec sleep 1000"),
        Limits { answer: SHORT, astray: Duration::from_millis(100), ..LIMITS },
    );
    let long = "x".repeat(1 << 20);
    let mut seen = Vec::new();
    stand_in.until("it is not given up", |answer| {
        assert_eq!(answer, None);
        let began = Instant::now();
        stand_in.language.ask(&long, 1, false, Instant::now());
        assert!(began.elapsed() < PATIENCE / 2, "a full pipe is in the way");
        seen.extend(stand_in.id().filter(|id| seen.last() != Some(id)));
        stand_in.language.problem().is_some()
    });
    let problem = stand_in.language.problem().unwrap();
    assert!(problem.contains("no answer for") && problem.contains("4 times"), "{problem}");
    assert_eq!(seen.len(), 1 + RESTARTS as usize);
    assert!(seen.iter().all(|id| !crate::system::is_alive(*id)), "a process that hung is still there");
}

#[test]
fn a_process_that_crashes_is_restarted() {
    let script = format!(
        "if [ -e $LOG ]; then {READY}; read question; {ANSWER}; cat > /dev/null; fi\n\
         {READY}; read question; echo first > $LOG; echo 'it went wrong' >&2; exit 101"
    );
    let stand_in = StandIn::new(&script, LIMITS);
    stand_in.until("the second does not answer", |answer| answer.is_some());
    assert_eq!(stand_in.log(), ["first"]);
}

#[test]
fn a_process_that_knows_more_replaces_it_when_ready() {
    let first = READY.replace("more\":false", "more\":true");
    let script = format!(
        "read -r start; printf '%s\\n' \"$start\" >> $LOG\n\
         case \"$start\" in *'\"dependencies\":true'*) while [ ! -e $LOG.go ]; do sleep 0.01; done; {} ;; *) {} ;; esac\n\
         cat > /dev/null",
        READY.trim_start_matches("read start; "),
        first.trim_start_matches("read start; ")
    );
    let stand_in = StandIn::new(&script, Limits { answer: SHORT, ..LIMITS });
    stand_in.until("no second is started", |_| stand_in.log().len() == 2);
    let old = stand_in.id().unwrap();
    assert!(stand_in.is_ready() && stand_in.log()[0].contains("\"dependencies\":false"), "{:?}", stand_in.log());
    stand_in.ask();
    assert_eq!(stand_in.id(), Some(old), "the first serves while the second starts");
    std::fs::write(stand_in.folder.path().join("log.go"), "").unwrap();
    stand_in.until("the second does not take its place", |_| stand_in.id() != Some(old));
    assert!(!crate::system::is_alive(old), "two hold memory");
    stand_in.ask();
    assert_eq!((stand_in.log().len(), stand_in.language.problem()), (2, None), "one is enough");
}

#[test]
fn an_idle_process_ends_and_a_question_starts_another() {
    let stand_in = StandIn::new(
        &format!("{READY}\ncat > /dev/null\necho ended >> $LOG"),
        Limits { answer: SHORT, rest: Duration::from_millis(200), ..LIMITS },
    );
    stand_in.until("it is not ready", |_| stand_in.is_ready());
    let first = stand_in.id();
    let began = Instant::now();
    while stand_in.log().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    // This may happen any number of times, because it is not a failure.
    for _ in 0..=RESTARTS + 1 {
        std::thread::sleep(Duration::from_millis(250));
        stand_in.ask();
    }
    assert!(stand_in.id().is_some() && stand_in.id() != first, "{:?}", stand_in.language.problem());
}

#[test]
fn other_crates_restart_it_with_them() {
    let stand_in = StandIn::new("read -r crates; printf '%s\\n' \"$crates\" >> $LOG; exec sleep 1000", LIMITS);
    let found =
        || vec![Crate { name: "a_b".to_owned(), dependency: "{ package = \"a-b\", version = \"1\" }".to_owned() }];
    stand_in.until("it is not told", |_| stand_in.log().len() == 1);
    let first = stand_in.id();
    stand_in.language.depend_on(Path::new("/one.so"), found);
    assert_eq!(stand_in.id(), None, "nobody asked");
    stand_in.until("it is not restarted", |_| stand_in.log().len() == 2);
    let second = stand_in.id();
    assert!(second.is_some() && second != first);
    // Setting the same again changes nothing.
    stand_in.language.depend_on(Path::new("/one.so"), found);
    assert_eq!((stand_in.id(), stand_in.language.problem()), (second, None));
    let told: Vec<_> = stand_in
        .log()
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("{\"start\":{")?.split_once(",\"std\"")?.0.to_owned()))
        .collect();
    assert_eq!(
        told,
        [r#""crates":[]"#, r#""crates":[{"name":"a_b","dependency":"{ package = \"a-b\", version = \"1\" }"}]"#]
    );
}

#[test]
fn the_reason_for_a_failed_start_is_known_and_not_retried() {
    let stand_in = StandIn::new("echo started >> $LOG; echo 'no toolkit here' >&2; echo >&2; exit 1", LIMITS);
    stand_in.until("it is retried forever", |_| stand_in.language.problem().is_some());
    assert_eq!(stand_in.language.problem().unwrap(), "no toolkit here");
    assert_eq!((stand_in.ask(), stand_in.log().len()), (None, 1));
    let missing = Language::new(Path::new("/no/such/chandlery"), Some("/usr/bin/rustc".into()));
    missing.ask("x", 1, false, Instant::now());
    assert!(missing.problem().is_some());
    let slow = StandIn::new("exec sleep 1000", Limits { start: SHORT, ..LIMITS });
    slow.until("it may start forever", |_| slow.language.problem().is_some());
}

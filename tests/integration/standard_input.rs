//! `std::io::stdin()` in cells: the user is asked, line by line.

use std::collections::VecDeque;

use chandlery_kernel::engine::direct::DirectEngine;
use chandlery_kernel::engine::{Cell, Engine, Event, Interrupter, Outcome, Output, Stream};

/// A user with prepared answers, who may press stop when there are none left.
#[derive(Default)]
struct User {
    answers: VecDeque<&'static str>,
    stop: Option<Interrupter>,
    /// The output before each question.
    asked: Vec<String>,
    text: [String; 2],
    result: String,
}

impl Output for User {
    fn event(&mut self, event: Event) {
        match event {
            Event::Text { stream: Stream::Stdout, text } => self.text[0].push_str(&text),
            Event::Text { stream: Stream::Stderr, text } => self.text[1].push_str(&text),
            Event::Result { data } => data.plain().clone_into(&mut self.result),
            _ => {}
        }
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        assert_eq!((prompt, password), ("", false));
        self.asked.push(self.text[0].clone());
        let answer = self.answers.pop_front();
        if let (None, Some(stop)) = (answer, &self.stop) {
            stop();
        }
        answer.map(str::to_owned)
    }
}

fn engine() -> DirectEngine {
    let exe = std::env::current_exe().unwrap();
    let program = exe.ancestors().map(|folder| folder.join("chandlery")).find(|program| program.is_file());
    DirectEngine::new(program.expect("`cargo build --release` makes the command these tests run"))
}

fn run(engine: &mut DirectEngine, code: &str, answers: &[&'static str]) -> (Outcome, User) {
    let mut user = User { answers: answers.iter().copied().collect(), ..User::default() };
    (engine.execute(&Cell { code: code.to_owned(), number: 1 }, &mut user), user)
}

#[test]
fn each_line_is_a_question_until_the_user_ends_the_input() {
    let mut engine = engine();
    let code = r#"
        print!("name: ");
        let mut name = String::new();
        std::io::stdin().read_line(&mut name)?;
        println!("Hello {}", name.trim_end());
        let more: Vec<String> = std::io::stdin().lines().collect::<Result<_, _>>()?;
        (name, more)"#;
    let (outcome, user) = run(&mut engine, code, &["Ada", "ünï", "", "\u{4}"]);
    assert_eq!(outcome, Outcome::Ok, "{:?}", user.text);
    assert_eq!(user.result, r#"("Ada\n", ["ünï", ""])"#);
    assert_eq!(user.asked[..2], ["name: ", "name: Hello Ada\n"]);

    // A line that is longer than a buffer, read by another thread, and everything at once.
    let long: &'static str = "x".repeat(20_000).leak();
    let code = "std::thread::spawn(|| std::io::read_to_string(std::io::stdin()).map(|all| all.len())).join().unwrap()?";
    let (outcome, user) = run(&mut engine, code, &[long, "y", "\u{4}"]);
    assert_eq!((outcome, user.result.as_str()), (Outcome::Ok, "20003"), "{:?}", user.text);
    // Programs that a cell starts do not have standard input, so they do not hang.
    let (outcome, user) = run(&mut engine, r#"std::process::Command::new("cat").status()?.success()"#, &["z"]);
    assert_eq!((outcome, user.result.as_str(), user.asked.len()), (Outcome::Ok, "true", 0));
}

#[test]
fn without_a_user_the_input_is_empty_with_a_notice() {
    let mut engine = engine();
    let code = "let mut line = String::new(); std::io::stdin().read_line(&mut line)?";
    let (outcome, user) = run(&mut engine, code, &[]);
    assert_eq!((outcome, user.result.as_str()), (Outcome::Ok, "0"));
    assert_eq!(user.text[1], "standard input is empty: nobody can be asked for a line here\n");
}

#[test]
fn an_interrupt_ends_the_question_and_the_cell() {
    let mut engine = engine();
    run(&mut engine, "let kept = 7;", &[]);
    let mut user = User { stop: Some(engine.interrupter()), ..User::default() };
    let code = "for line in std::io::stdin().lines() { println!(\"{}\", line?); }".to_owned();
    let outcome = engine.execute(&Cell { code, number: 2 }, &mut user);
    assert!(outcome.is_interrupt(), "{outcome:?}");
    assert_eq!(user.asked.len(), 1);
    assert_eq!(run(&mut engine, "kept", &[]).1.result, "7");
}

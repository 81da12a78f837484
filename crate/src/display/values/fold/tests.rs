use super::*;

fn line(value: &dyn Debug) -> String {
    Fold::of(&format_args!("{value:?}")).0
}

#[test]
fn lists_inside_show_their_ends_and_their_count() {
    let many: Vec<u32> = (0..100_000).collect();
    assert_eq!(line(&Some(&many)), "Some([0, 1, 2, …, 99998, 99999] (100,000 values))");
    assert_eq!(line(&(1, vec!["a"; 500], 'x')), "(1, [\"a\", \"a\", \"a\", …, \"a\", \"a\"] (500 values), 'x')");
    assert_eq!(line(&vec![vec![1, 2], vec![]]), "[[1, 2], []]");
    let map = std::collections::BTreeMap::from([("k, ]", Some('"')), ("it's", None)]);
    assert_eq!(line(&map), format!("{map:?}"));
    assert_eq!(line(&"x".repeat(1000)), format!("\"{}…\" (1,000 characters)", "x".repeat(TEXT - 1)));
}

#[test]
fn structs_keep_their_fields() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "read by Debug")]
    struct Run {
        name: &'static str,
        losses: Vec<f32>,
    }
    let run = Run { name: "a", losses: vec![0.5; 2000] };
    assert_eq!(line(&run), "Run { name: \"a\", losses: [0.5, 0.5, 0.5, …, 0.5, 0.5] (2,000 values) }");
    let (_, group) = Fold::of(&format_args!("{run:?}"));
    assert!(group.is_some_and(|group| group.is_struct && group.ends.count == 2 && group.before.trim() == "Run"));
}

#[test]
fn text_that_is_not_balanced_stays_text() {
    for text in ["a) b(", "don't [", "}}}", "\"open", "'", "'\\"] {
        assert!(!Fold::of(&text).0.is_empty(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Fold::of(&deep).0.len() < 1000);
}

#[test]
fn endless_text_ends() {
    let endless = fmt::from_fn(|f| {
        f.write_str("[")?;
        loop {
            f.write_str("1, ")?;
        }
    });
    let (line, group) = Fold::of(&endless);
    assert!(line.starts_with("[1, 1, 1, …] (at least "), "{line}");
    assert!(group.is_some_and(|group| group.ends.unfinished));
}

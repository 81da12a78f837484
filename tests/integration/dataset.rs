//! Datasets: formats, templates, patterns, packing, and errors.

use std::path::Path;

use chandlery::dataset;
use chandlery::dataset::{Dataset, DatasetError, Packing};
use chandlery::polars::prelude::{DataFrame, IntoLazy, col, df};
use chandlery::polars_io::prelude::{CsvWriter, JsonFormat, JsonWriter, ParquetWriter, SerWriter};
use chandlery::project;
use chandlery::tokenizer::{ChatTemplate, TokenizerFiles};
use tempfile::tempdir;

fn tokenizer() -> TokenizerFiles {
    project("llama").unwrap().config("4M").unwrap().tokenizer().unwrap()
}

/// A dataset project with one configuration of these settings.
fn declare(folder: &Path, settings: &str) {
    let settings: String = settings.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    let text = format!("name: d\ndescription: for a test\ndefault_config: only\nconfigs:\n  only:\n{settings}");
    std::fs::write(folder.join("dataset.yaml"), text).unwrap();
}

fn load(folder: &Path, settings: &str) -> Result<Dataset, DatasetError> {
    declare(folder, settings);
    dataset(folder)?.config("only")?.load(&tokenizer(), 64)
}

fn texts(data: &Dataset) -> Vec<String> {
    let frame = data.frame();
    let texts = frame.column("text").unwrap().str().unwrap().clone();
    (0..texts.len()).filter_map(|index| texts.get(index)).map(str::to_owned).collect()
}

/// What is said, without the temporary folder's name.
fn said(folder: &Path, settings: &str) -> String {
    let error = load(folder, settings).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
    error.replace(folder.to_str().unwrap(), "[temp]")
}

fn table() -> DataFrame {
    df!(
        "title" => ["One", "Two", "Three"],
        "body" => [Some("It was, as they say, a \"dark\" night."), None, Some("Line one.\nLine two: ümläute.")],
        "stars" => [5i64, 3, 4],
    )
    .unwrap()
}

/// The table in a file of each format with columns.
fn write_tables(folder: &Path) -> [&'static str; 3] {
    let file = |name: &str| std::fs::File::create(folder.join(name)).unwrap();
    CsvWriter::new(file("t.csv")).finish(&mut table()).unwrap();
    ParquetWriter::new(file("t.parquet")).finish(&mut table()).unwrap();
    JsonWriter::new(file("t.jsonl")).with_json_format(JsonFormat::JsonLines).finish(&mut table()).unwrap();
    ["t.csv", "t.parquet", "t.jsonl"]
}

#[test]
fn every_format_gives_the_same_documents() {
    let temp = tempdir().unwrap();
    let mut all = Vec::new();
    for file in write_tables(temp.path()) {
        let data = load(temp.path(), &format!("files: {file}\ntext: body\npacking: greedy")).unwrap();
        assert_eq!(texts(&data), ["It was, as they say, a \"dark\" night.", "Line one.\nLine two: ümläute."], "{file}");
        let rows = data.frame().lazy().select([col("row")]).collect().unwrap();
        assert_eq!(rows.column("row").unwrap().u64().unwrap().to_vec(), [Some(1), Some(3)], "{file}");
        all.push(data.blocks().to_vec());
    }
    std::fs::write(
        temp.path().join("t.txt"),
        "It was, as they say, a \"dark\" night.\n***\nLine one.\nLine two: ümläute.\n",
    )
    .unwrap();
    all.push(load(temp.path(), "files: t.txt\nseparator: '***'\npacking: greedy").unwrap().blocks().to_vec());
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
}

#[test]
fn lists_of_json_and_tables_with_tabs_are_read() {
    let temp = tempdir().unwrap();
    let rows = r#"[{"text": "a wick", "n": 1}, {"text": "a\tflame", "n": 2}, {"text": null, "n": 3}]"#;
    std::fs::write(temp.path().join("list.json"), rows).unwrap();
    std::fs::write(temp.path().join("named.json"), format!("{{\"version\": 1, \"data\": {rows}}}")).unwrap();
    std::fs::write(temp.path().join("table.tsv"), "text\tn\na wick\t1\n\"a\tflame\"\t2\n").unwrap();
    for file in ["list.json", "named.json", "table.tsv"] {
        assert_eq!(texts(&load(temp.path(), &format!("files: {file}")).unwrap()), ["a wick", "a\tflame"], "{file}");
    }
    std::fs::write(temp.path().join("object.json"), r#"{"text": "one"}"#).unwrap();
    assert!(said(temp.path(), "files: object.json").starts_with("the file is not a list of objects"));
}

#[test]
fn files_that_are_compressed_are_read_as_what_they_hold() {
    let temp = tempdir().unwrap();
    let text = b"{\"text\": \"a wick\"}\n";
    // A frame of Zstandard with one block that is stored: RFC 8878.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, text.len() as u8];
    zstd.extend_from_slice(&((text.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    zstd.extend_from_slice(text);
    std::fs::write(temp.path().join("one.jsonl.zst"), &zstd).unwrap();
    assert_eq!(texts(&load(temp.path(), "files: one.jsonl.zst").unwrap()), ["a wick"]);
    std::fs::write(temp.path().join("one.jsonl.zst"), &zstd[..zstd.len() - 4]).unwrap();
    assert!(said(temp.path(), "files: one.jsonl.zst").contains("one.jsonl.zst"));
}

#[test]
fn only_what_the_assistant_says_in_a_chat_is_learned() {
    let temp = tempdir().unwrap();
    let turns = r#"[{"role": "user", "content": "Hot?"}, {"role": "assistant", "content": "Very."},
        {"role": "user", "content": "And wax?"}, {"role": "assistant", "content": "It melts."}]"#;
    let line = format!("{{\"messages\": {}}}\n{{\"messages\": null}}\n", turns.replace('\n', " "));
    std::fs::write(temp.path().join("chats.jsonl"), line).unwrap();
    declare(temp.path(), "files: chats.jsonl\nmessages: messages");
    let marked = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}\
                  {% else %}{{ m.content }}{% endif %}{% endfor %}";
    let marked = ChatTemplate::new(marked, "a test").unwrap();
    let plain = ChatTemplate::open("chatml").unwrap();
    for (template, expected) in [(plain, "Very.<|im_end|>\nIt melts.<|im_end|>\n"), (marked, "Very.!It melts.!")] {
        let tokenizer = tokenizer().with_chat_template(&template);
        let data = dataset(temp.path()).unwrap().config("only").unwrap().load(&tokenizer, 200).unwrap();
        let [block] = data.blocks() else { panic!("{:?}", data.blocks()) };
        let learned: Vec<u32> = (0..block.input_ids.len() as u32)
            .filter(|at| !block.context.contains(at))
            .map(|at| block.input_ids[at as usize])
            .collect();
        let engine = tokenizer.tokenizer().unwrap();
        assert_eq!(engine.decode(&learned, false).unwrap(), expected);
        let whole = engine.decode(&block.input_ids, false).unwrap();
        assert!(whole.contains("Hot?") && whole.ends_with(expected.rsplit_once("It").unwrap().1), "{whole}");
    }
}

#[test]
fn several_columns_make_one_text() {
    let temp = tempdir().unwrap();
    for file in write_tables(temp.path()) {
        let data =
            load(temp.path(), &format!("files: {file}\ntext: '{{{{ title }}}} ({{{{ stars }}}}): {{{{ body }}}}'"));
        let texts = texts(&data.unwrap());
        assert_eq!(texts[0], "One (5): It was, as they say, a \"dark\" night.", "{file}");
        assert_eq!(texts[1], "Two (3): ", "{file}");
    }
}

#[test]
fn columns_may_have_the_names_that_the_frame_uses() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("t.csv"), "row,file,text\nr,f,t\n").unwrap();
    let data = load(temp.path(), "files: t.csv\ntext: '{{ text }} {{ row }} {{ file }}'").unwrap();
    assert_eq!(texts(&data), ["t r f"]);
}

#[test]
fn plain_text_is_divided_as_asked() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.txt"), "one\ntwo\r\n\r\n\n three\n").unwrap();
    for (separator, expected, rows) in [
        ("file", vec!["one\ntwo\n\n\n three"], vec![1]),
        ("line", vec!["one", "two", "three"], vec![1, 2, 5]),
        ("blank_line", vec!["one\ntwo", "three"], vec![1, 5]),
    ] {
        let data = load(temp.path(), &format!("files: a.txt\nseparator: {separator}")).unwrap();
        assert_eq!(texts(&data), expected, "{separator}");
        let frame = data.frame();
        let found: Vec<u64> = frame.column("row").unwrap().u64().unwrap().to_vec().into_iter().flatten().collect();
        assert_eq!(found, rows, "{separator}");
    }
}

#[test]
fn patterns_find_files_and_do_not_leave_the_project() {
    let temp = tempdir().unwrap();
    let home = temp.path().join("home");
    std::fs::create_dir_all(home.join("deep/er")).unwrap();
    for (file, text) in [("home/b1.txt", "b1"), ("home/a.txt", "a"), ("home/b2.txt", "b2"), ("home/deep/er/c.txt", "c")]
    {
        std::fs::write(temp.path().join(file), text).unwrap();
    }
    std::fs::write(temp.path().join("outside.txt"), "o").unwrap();
    std::os::unix::fs::symlink(temp.path().join("outside.txt"), home.join("link.txt")).unwrap();
    let found = |files: &str| load(&home, &format!("files: {files}")).map(|data| texts(&data));
    assert_eq!(found("'b?.txt'").unwrap(), ["b1", "b2"]);
    assert_eq!(found("[b2.txt, 'b*.txt', a.txt]").unwrap(), ["b2", "b1", "a"]);
    assert_eq!(found("'**/c.txt'").unwrap(), ["c"]);
    assert_eq!(found(temp.path().join("outside.txt").to_str().unwrap()).unwrap(), ["o"]);
    for leaving in ["../outside.txt", "link.txt", "deep/../../outside.txt"] {
        let error = found(leaving).unwrap_err().to_string();
        assert!(error.contains("points outside the dataset project"), "{leaving}: {error}");
    }
}

#[test]
fn order_follows_the_seed_and_the_limit_holds() {
    let temp = tempdir().unwrap();
    let lines: Vec<String> = (0..40).map(|number| format!("number {number}")).collect();
    std::fs::write(temp.path().join("a.txt"), lines.join("\n")).unwrap();
    let read = |more: &str| texts(&load(temp.path(), &format!("files: a.txt\nseparator: line\n{more}")).unwrap());
    assert_eq!(read(""), lines);
    assert_eq!(read("limit: 3"), lines[..3]);
    assert_eq!(read("shuffle_seed: 1"), read("shuffle_seed: 1"));
    assert_ne!(read("shuffle_seed: 1"), read("shuffle_seed: 2"));
    let mut sorted = read("shuffle_seed: 1");
    sorted.sort_by_key(|line| line[7..].parse::<u32>().unwrap());
    assert_eq!(sorted, lines);
    assert!(read("shuffle_seed: 1\nlimit: 5").iter().any(|line| !lines[..5].contains(line)));
}

#[test]
fn documents_begin_and_end_with_the_tokens_asked_for() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.txt"), "word").unwrap();
    let (bos, eos) = (tokenizer().role("bos_token").unwrap(), tokenizer().role("eos_token").unwrap());
    let ids = |more: &str| load(temp.path(), &format!("files: a.txt\n{more}")).unwrap().blocks()[0].input_ids.clone();
    let bare = ids("tokenizer: {add_bos: false, add_eos: false}");
    assert!(!bare.contains(&bos) && !bare.contains(&eos));
    assert_eq!(ids(""), [&[bos], &bare[..], &[eos]].concat());
    assert_eq!(ids("tokenizer: {add_bos: false}"), [&bare[..], &[eos]].concat());
}

#[test]
fn the_classics_come_back_from_their_tokens_under_every_packing() {
    let classics = dataset("classics").unwrap();
    let tokenizer = tokenizer();
    let mut totals = Vec::new();
    for name in classics.configs() {
        let data = classics.config(&name).unwrap().load(&tokenizer, 512).unwrap();
        let held: usize = data.blocks().iter().map(|block| block.input_ids.len()).sum();
        assert_eq!(held + data.cut_tokens(), data.tokens() as usize, "{name}");
        totals.push(data.tokens());
        if data.packing() == Packing::Greedy {
            let ids: Vec<u32> = data.blocks().iter().flat_map(|block| block.input_ids.clone()).collect();
            let text = tokenizer.tokenizer().unwrap().decode(&ids, true).unwrap();
            assert_eq!(text, texts(&data).concat());
            assert!(data.density() > 0.95);
        }
    }
    assert!(totals.len() == 4 && totals.iter().all(|&total| total == totals[0] && total > 5000), "{totals:?}");
}

#[test]
fn a_column_that_is_not_there() {
    let temp = tempdir().unwrap();
    write_tables(temp.path());
    insta::assert_snapshot!(said(temp.path(), "files: t.parquet\ntext: bodi"));
}

#[test]
fn a_template_with_a_column_that_is_not_there() {
    let temp = tempdir().unwrap();
    write_tables(temp.path());
    insta::assert_snapshot!(said(temp.path(), "files: t.csv\ntext: '{{ title }} {{ author }}'"));
}

#[test]
fn a_column_of_numbers() {
    let temp = tempdir().unwrap();
    write_tables(temp.path());
    insta::assert_snapshot!(said(temp.path(), "files: t.parquet\ntext: stars"));
}

#[test]
fn a_line_that_is_not_json() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.jsonl"), "{\"text\": \"good\"}\n{\"text\": \"cut o\n").unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: a.jsonl"));
}

#[test]
fn bytes_that_are_not_text() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.txt"), b"fine\nfine\nnot \xff fine\n").unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: a.txt"));
}

#[test]
fn a_file_that_is_not_parquet() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.parquet"), "text\nhello\n").unwrap();
    let said = said(temp.path(), "files: a.parquet");
    assert!(said.starts_with("the file cannot be read: ") && said.contains("where: [temp]/a.parquet"), "{said}");
}

#[test]
fn no_such_file() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.txt"), "a").unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: 'b*.txt'"));
}

#[test]
fn a_format_that_nothing_tells() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.data"), "a").unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: a.data"));
}

#[test]
fn a_setting_that_does_not_exist() {
    let temp = tempdir().unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: a.txt\npaking: greedy"));
}

#[test]
fn blocks_longer_than_the_sequence() {
    let temp = tempdir().unwrap();
    std::fs::write(temp.path().join("a.txt"), "a").unwrap();
    insta::assert_snapshot!(said(temp.path(), "files: a.txt\nblock_length: 100"));
}

#[test]
fn an_unknown_dataset_and_an_unknown_configuration() {
    let error = dataset("clasics").unwrap_err().to_string();
    assert!(error.contains("did you mean `classics`?"), "{error}");
    let error = dataset("classics").unwrap().config("greddy").unwrap_err().to_string();
    assert!(error.contains("did you mean `greedy`?"), "{error}");
}

/// A file with a column of every type that Arrow knows, and one of text.
fn all_types() -> std::path::PathBuf {
    chandlery_tests::fixture("parquet").join("types.parquet")
}

#[test]
fn columns_of_every_type_may_stand_beside_the_text() {
    let temp = tempdir().unwrap();
    std::fs::copy(all_types(), temp.path().join("t.parquet")).unwrap();
    let data = load(temp.path(), "files: t.parquet\npacking: greedy").unwrap();
    assert_eq!(texts(&data), ["one", "two", "three"]);
}

#[test]
fn a_column_of_any_type_is_read_or_named_with_its_type() {
    let temp = tempdir().unwrap();
    std::fs::copy(all_types(), temp.path().join("t.parquet")).unwrap();
    let mut lines = Vec::new();
    let columns = "text categorical number_categories decimal decimal256 float16 list large_list fixed_list struct \
                   list_of_struct map binary fixed_binary date time time32 timestamp timestamp_zone timestamp_odd duration bool \
                   int8 uint8 int16 uint16 uint64 float32 null large_string string_view";
    for column in columns.split_whitespace() {
        for text in [column.to_owned(), format!("'{{{{ text }}}}: {{{{ {column} }}}}'")] {
            let said = match load(temp.path(), &format!("files: t.parquet\ntext: {text}\npacking: greedy")) {
                Ok(data) => texts(&data).join(" | "),
                Err(error) => error.to_string().lines().next().unwrap().to_owned(),
            };
            lines.push(format!("{text}: {said}"));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn records_in_json_lines_may_stand_beside_the_text() {
    let temp = tempdir().unwrap();
    let line = "{\"text\": \"one\", \"meta\": {\"a\": 1}, \"tags\": [\"x\"], \"turns\": [{\"role\": \"user\"}]}\n";
    std::fs::write(temp.path().join("t.jsonl"), line.repeat(2)).unwrap();
    let data = load(temp.path(), "files: t.jsonl\npacking: greedy").unwrap();
    assert_eq!(texts(&data), ["one", "one"]);
    for column in ["meta", "tags", "turns"] {
        let said = said(temp.path(), &format!("files: t.jsonl\ntext: {column}"));
        assert!(said.contains(&format!("column `{column}` holds")), "{said}");
    }
}

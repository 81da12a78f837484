//! Chat templates: they render as in transformers, errors are reported, and endless templates are stopped.

use std::time::{Duration, Instant, SystemTime};

use chandlery::tokenizer::{AddTokens, Chat, ChatTemplate, Generation, GenerationMode, TokenizerFiles};
use chandlery_tests::{MODELS, copy_of, fixture, json};
use serde_json::{Map, Value, json};

use super::command::say;

fn files(model: &str) -> TokenizerFiles {
    TokenizerFiles::read(&fixture(model)).unwrap()
}

fn render(template: &str, chat: &Chat) -> String {
    let tokens = [("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
    ChatTemplate::new(template, "t.jinja").unwrap().render(chat, &tokens).unwrap()
}

fn error_of(template: &str) -> String {
    ChatTemplate::new(template, "t.jinja").expect_err(template).to_string()
}

#[test]
fn fixtures_render_as_transformers_rendered_them() {
    let mut rendered = 0;
    for model in MODELS {
        let reference = json(fixture(model).join("tokenizer_reference.json"));
        for chat in reference["chat"].as_array().into_iter().flatten() {
            let conversation = json!({ "messages": chat["messages"] }).to_string();
            let prompt = chat["add_generation_prompt"].as_bool().unwrap();
            let conversation = Chat::from_json(&conversation, "chat").unwrap().generation_prompt(prompt);
            let text = files(model).render_chat(&conversation).unwrap();
            assert_eq!(text, chat["text"].as_str().unwrap(), "{model}");
            let ids: Vec<u32> = serde_json::from_value(chat["ids"].clone()).unwrap();
            assert_eq!(files(model).encode_rendered(&text).unwrap(), ids, "{model}");
            rendered += 1;
        }
    }
    assert!(rendered >= 10, "{rendered} chats compared");
}

#[test]
fn built_in_templates_render_the_documented_text() {
    let chat = Chat::of(&[("system", "Be brief. "), ("user", "Hello \n"), ("assistant", " Hi "), ("user", "Bye")]);
    let mut all = String::new();
    for name in ChatTemplate::names() {
        let tokens = [("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())];
        let text = ChatTemplate::open(&name).unwrap().render(&chat.clone().generation_prompt(true), &tokens).unwrap();
        all.push_str(&format!("== {name}\n{text}\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn templates_use_the_python_that_they_are_written_for() {
    let chat = Chat::of(&[("user", " a,b "), ("assistant", "C")]);
    for (template, text) in [
        ("{{ messages[0].content.strip().split(',')[-1].upper() }}", "B"),
        ("{% for m in messages[::-1] %}{{ m.role }};{% endfor %}", "assistant;user;"),
        ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": " a,b "}"#),
        ("{{ {'a': [1, none, true]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    null,\n    true\n  ]\n}"),
        ("{{ '<é>' | tojson }}{{ '<é>' | tojson(ensure_ascii=true) }}", "\"<é>\"\"<\\u00e9>\""),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% for k, v in messages[0].items() %}{{ k }}{{ v.startswith(' ') }} {% endfor %}", "roleFalse contentTrue "),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
            "C",
        ),
        (
            "{%- generation -%} {% set x = 1 %}{{ messages[-1].content }} {%- endgeneration %}{{ x is defined }}",
            "CFalse",
        ),
        (
            "{{ none }} {{ true }} {{ [1, 'x', none] }} {{ tools is none }} {{ undefined_name }}|",
            "None True [1, 'x', None] True |",
        ),
        ("{{ messages[0].get('tool_calls', 'no') }} {{ 'Ab' ~ 1 }} {{ 'a b'.title() }}", "no Ab1 A B"),
        (
            "{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(bos_token) }}{{ messages | map(attribute='role') | join('+') }}",
            "[<s>]user+assistant",
        ),
        ("    {% if true %}\n  x\n    {% endif %}\ny\n", "  x\ny"),
    ] {
        let text_of = ChatTemplate::new(template, "t.jinja");
        let tokens = [("bos_token", "<s>".to_owned())];
        let written = text_of.unwrap_or_else(|error| panic!("{template}\n{error}")).render(&chat, &tokens).unwrap();
        assert_eq!(written, text, "{template}");
    }
}

#[test]
fn the_date_is_now_unless_another_is_given() {
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let chat = Chat::of(&[("user", "x")]).at(day);
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}", &chat), "14 Nov 2023");
    // As Python on Linux: without a time zone, and with what is unknown as it stands.
    assert_eq!(render("{{ strftime_now('%z|%Z|%Q|%%') }}", &chat), "||%Q|%");
}

#[test]
fn templates_that_fail_are_refused_with_their_line() {
    let mut all = String::new();
    for template in [
        "a\n{% for m in messages %}\n{{ m.content }\n{% endfor %}",
        "a\n{% if %}",
        "{{ messages[0].content.explode() }}",
        "a\n\n{{ messages[0]['content'] | frobnicate }}",
        "{{ raise_exception('only for tools') }}",
        "{% include '/etc/passwd' %}",
        "{% extends 'base.html' %}",
        "{% import 'x' as y %}",
        "{{ messages.__class__.__mro__[1] }}{{ missing.deeper }}",
        "",
        "  {# nothing #}\n",
        "a\n{% for x in range(100000) %}{% for y in range(100000) %}{{ y }}{% endfor %}{% endfor %}",
        "{% set ns = namespace(t='xxxxxxxxxxxxxxxx') %}{% for x in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{{ 'x' * 99999999 }}{{ 'x' * 99999999 }}",
        "{% macro m(x) %}\n{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{{ range(10 ** 18) | list }}",
    ] {
        let begun = Instant::now();
        all.push_str(&format!("{template}\n>>> {}\n\n", error_of(template)));
        assert!(begun.elapsed() < Duration::from_secs(20), "{template}");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_template_may_refuse_some_conversations_and_says_why() {
    let strict = "{% if messages[0].role != 'user' %}{{ raise_exception('no ' ~ messages[0].role) }}{% endif %}ok";
    let template = ChatTemplate::new(strict, "strict.jinja").unwrap();
    assert_eq!(template.render(&Chat::of(&[("user", "x")]), &[]).unwrap(), "ok");
    let error = template.render(&Chat::of(&[("system", "x")]), &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("the chat template refuses the conversation: no system\n  where: strict.jinja:1: {% if"),
        "{error}"
    );
}

#[test]
fn files_that_are_not_templates_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jinja");
    let open = || ChatTemplate::open(path.to_str().unwrap()).unwrap_err().to_string();
    assert!(open().contains("there is no chat template"));
    std::fs::write(&path, b"a\nb\xff").unwrap();
    assert!(open().contains("t.jinja:2\n  do: save it as UTF-8"));
    std::fs::write(&path, "{{ x }}".repeat(300_000)).unwrap();
    assert!(open().contains("more than 1048576 bytes"));
    assert!(ChatTemplate::open("llama").unwrap_err().to_string().contains("did you mean `llama3`?"));
}

#[test]
fn a_template_is_written_where_every_reader_looks() {
    let template = ChatTemplate::open("chatml").unwrap();
    for (model, in_config) in [("llama-gqa", false), ("llama-gqa-4x", true)] {
        let files = files(model).with_chat_template(&template);
        assert_eq!(files.chat_template().unwrap().text(), template.text());
        let written = files.to_write();
        let content = |name: &str| &written.iter().find(|(file, _)| file == name).unwrap().1;
        assert_eq!(content("chat_template.jinja"), template.text().as_bytes());
        let config: Value = serde_json::from_slice(content("tokenizer_config.json")).unwrap();
        assert_eq!(config.get("chat_template").and_then(Value::as_str) == Some(template.text()), in_config, "{model}");
    }
}

#[test]
fn the_template_for_tools_is_used_when_there_are_tools() {
    let named = json!([{ "name": "default", "template": "plain" }, { "name": "tool_use", "template": "tools" }]);
    let config = json!({ "chat_template": named }).to_string().into_bytes();
    let files = TokenizerFiles::from_parts("parts", vec![("tokenizer_config.json".to_owned(), config)]);
    let chat = Chat::of(&[("user", "x")]);
    assert_eq!(files.render_chat(&chat).unwrap(), "plain");
    assert_eq!(files.render_chat(&chat.tools(json!([{ "name": "f" }]))).unwrap(), "tools");
}

#[test]
fn templates_with_names_go_along() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy_of("llama-gqa", folder.path());
    std::fs::create_dir(model.join("additional_chat_templates")).unwrap();
    std::fs::write(model.join("additional_chat_templates/tool_use.jinja"), "tools").unwrap();
    std::fs::write(model.join("additional_chat_templates/notes.txt"), "not a template").unwrap();
    TokenizerFiles::read(&model).unwrap().write(folder.path().join("out")).unwrap();
    let carried = TokenizerFiles::read(&folder.path().join("out")).unwrap();
    assert!(carried.names().any(|name| name == "additional_chat_templates/tool_use.jinja"));
    assert!(!carried.names().any(|name| name.contains("notes")));
    let chat = Chat::of(&[("user", "x")]);
    assert!(carried.render_chat(&chat).unwrap().starts_with("<|begin|>"));
    assert_eq!(carried.render_chat(&chat.tools(json!([{ "name": "f" }]))).unwrap(), "tools");
}

#[test]
fn the_command_renders_a_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let messages = folder.path().join("chat.json");
    std::fs::write(&messages, r#"[{"role": "user", "content": "Hello"}]"#).unwrap();
    let (model, messages) = (fixture("llama-gqa"), messages.to_str().unwrap().to_owned());
    let model = model.to_str().unwrap();
    let words = ["tokenizer", "chat", model, "--messages", &messages, "--add-generation-prompt"];
    let out = say(&words);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "<|begin|><|start|>user\nHello<|end|>\n<|start|>assistant\n\n");
    let out = say(&[&words[..], &["--json", "-t", "chatml"]].concat());
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["text"], "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    std::fs::write(&messages, r#"[{"content": "Hello"}]"#).unwrap();
    let out = say(&words);
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("message 1 has no `role`"));
}

fn source() -> Map<String, Value> {
    let Value::Object(fields) = json!({
        "_from_model_config": true, "eos_token_id": [1020, 9], "temperature": 0.6, "transformers_version": "5.23.0",
    }) else {
        unreachable!()
    };
    fields
}

#[test]
fn stop_tokens_are_a_union_with_the_sources_first() {
    let plan = AddTokens::open("chatml").unwrap().plan(&files("llama-gqa"), 1024, None).unwrap();
    let generation =
        Generation { stop_tokens: Generation::stop_token_list("<|end|>, <|nope|>,"), ..Default::default() };
    let config = json!({ "eos_token_id": 1020, "bos_token_id": 5 });
    let made = generation.make(Some(&source()), &config, plan.tokenizer(), Some(&plan)).unwrap();
    assert_eq!(made.stop_ids, [1020, 9, 1024, 1022]);
    let expected = json!({
        "eos_token_id": [1020, 9, 1024, 1022], "temperature": 0.6, "transformers_version": "5.23.0",
        "bos_token_id": 1019, "pad_token_id": 1023,
    });
    assert_eq!(**made.json.as_ref().unwrap(), expected);
    assert_eq!(made.warnings, ["the stop token `<|nope|>` is not in the vocabulary and was left out"]);
    let by_hand = Generation { auto_stop_tokens: false, ..Default::default() };
    let made = by_hand.make(None, &config, plan.tokenizer(), Some(&plan)).unwrap();
    assert_eq!(made.json.as_ref().unwrap()["eos_token_id"], 1020);
}

#[test]
fn a_generation_configuration_is_carried_made_or_left_out() {
    let config = json!({ "eos_token_id": 1020 });
    let make =
        |mode, source| Generation { mode, ..Default::default() }.make(source, &config, &files("llama-gqa"), None);
    let minimal = make(GenerationMode::Carry, None).unwrap();
    assert_eq!(
        **minimal.json.as_ref().unwrap(),
        json!({ "bos_token_id": 1019, "pad_token_id": 1023, "eos_token_id": 1020 })
    );
    let mut same = source();
    same.insert("eos_token_id".to_owned(), json!(1020));
    assert_eq!(make(GenerationMode::Carry, Some(&same)).unwrap().json.unwrap()["_from_model_config"], true);
    assert!(make(GenerationMode::from_word("none"), Some(&same)).unwrap().json.is_none());
    let folder = tempfile::tempdir().unwrap();
    let preset = folder.path().join("precise.json");
    std::fs::write(&preset, r#"{"max_tokens": 32, "temperature": 0.1, "stream": true}"#).unwrap();
    let made = make(GenerationMode::from_word(preset.to_str().unwrap()), Some(&same)).unwrap();
    let json = made.json.unwrap();
    assert_eq!(
        (&json["max_new_tokens"], &json["do_sample"], &json["eos_token_id"]),
        (&json!(32), &json!(true), &json!(1020))
    );
    assert!(json.get("transformers_version").is_none() && made.warnings[0].contains("stream"));
    for (text, reason) in
        [("[1]", "not a JSON object"), (r#"{"max_tokens": -1}"#, "number of tokens"), (r#"{"top_p": {}}"#, "`top_p`")]
    {
        std::fs::write(&preset, text).unwrap();
        let error = make(GenerationMode::from_word(preset.to_str().unwrap()), None).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("precise.json"), "{error}");
    }
}

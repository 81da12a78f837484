"""The kernel as Jupyter's own clients see it: jupyter_kernel_test's suite, and nbclient."""

import queue

import jupyter_kernel_test
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from workbench import REPOSITORY

# The suite's 15 s are for interpreters: here a cell is compiled, on a machine that may be busy.
jupyter_kernel_test.TIMEOUT = 60
MODEL = REPOSITORY / "tests" / "fixtures" / "llama-gqa"


class TestProtocol(jupyter_kernel_test.KernelTests):
    kernel_name = "chandlery"
    language_name = "rust"
    file_extension = ".rs"

    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("a warning");'
    code_generate_error = 'panic!("on purpose")'
    code_execute_result = [
        {"code": "1 + 1", "result": "2"},
        {"code": "(1..=4).product::<i32>()", "result": "24"},
        {"code": 'let word = "wick"; word.len()', "result": "4"},
    ]
    code_display_data = [{"code": "emit(&chandlery::display::MimeBundle::text(\"shown\"));", "mime": "text/plain"}]
    code_page_something = "?candlewick"
    code_clear_output = "chandlery::display::clear(false);"

    complete_code_samples = ["1 + 1", "let x = 1;", "fn f() -> u8 { 1 }", f"%inspect {MODEL}"]
    incomplete_code_samples = ["fn f() {", "let x = (1,", 'let s = "open']
    invalid_code_samples = ["let x = );"]

    # Of the variable that setUpClass makes, and of a magic, after its `%`.
    completion_samples = [{"text": "candlewi", "matches": ["candlewick"]}, {"text": "%insp", "matches": ["inspect"]}]
    code_inspect_sample = "candlewick"

    supported_history_operations = ("tail", "range", "search")
    code_history_pattern = "1 ?*"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kc.execute("let candlewick = 12u8;", reply=True, timeout=60)

    def execute_helper(self, code, timeout=60, **options):
        return super().execute_helper(code, timeout=timeout, **options)


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "chandlery"
    support_iopub_welcome = True


# pytest would run the imported suites themselves, against ipykernel.
del jupyter_kernel_test


def test_standard_input_is_a_question_to_the_front_end(kernel):
    manager, client = start_new_kernel(kernel_name=kernel, startup_timeout=60)
    try:
        asked, shown = [], []

        def answer(message):
            asked.append((message["content"]["prompt"], list(shown)))
            client.input("Ada")

        def output(message):
            if message["msg_type"] == "stream":
                shown.append(message["content"]["text"])

        code = 'print!("name: "); let mut line = String::new(); std::io::stdin().read_line(&mut line)?; print!("Hello {line}");'
        reply = client.execute_interactive(code, timeout=60, stdin_hook=answer, output_hook=output)
        assert reply["content"]["status"] == "ok"
        assert "".join(shown) == "name: Hello Ada\n"
        assert [prompt for prompt, _ in asked] == [""]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def execute(kernel, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, kernel_name=kernel, timeout=120).execute()
    return notebook


def test_variables_pass_from_cell_to_cell(kernel):
    notebook = execute(kernel, "let names = vec![\"wax\", \"wick\"];", "names.len()")
    assert notebook.cells[1].outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ('let number: u32 = "not a number";', "E0308"),
        ('panic!("on purpose")', "Panic"),
        ('"x".parse::<u32>()?;', "ParseIntError"),
        ("%inspect no-such-folder", ""),
    ],
    ids=["compile-error", "panic", "question-mark", "magic"],
)
def test_a_failing_cell_stops_the_notebook(kernel, code, name):
    with pytest.raises(CellExecutionError) as failure:
        execute(kernel, "let before = 1;", code, 'println!("never printed");')
    assert name in failure.value.ename
    assert "never printed" not in str(failure.value)


def test_a_magic_shows_a_table(kernel):
    notebook = execute(kernel, f"%inspect {MODEL}")
    shown = [output.data for output in notebook.cells[0].outputs if "data" in output]
    assert any("<table" in data.get("text/html", "") and "text/plain" in data for data in shown)


def test_elapsed_time_without_a_count_is_updated(kernel):
    """It stops with the cell: no update follows its end."""
    manager, client = start_new_kernel(kernel_name=kernel, startup_timeout=60)
    try:
        shown = []

        def keep(message):
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append(message["content"]["data"]["text/plain"])

        wait = "std::thread::sleep(std::time::Duration::from_secs(2));"
        code = f'let bar = Progress::unknown("loading"); {wait} bar.finish(); let left = Progress::unknown("left");'
        client.execute_interactive(code, timeout=60, output_hook=keep)
        running = [text for text in shown if "loading" in text and "done" not in text]
        assert len(set(running)) >= 3, shown
        assert any(text.startswith("loading: done in 2.") for text in shown), shown
        before = len(shown)
        with pytest.raises(queue.Empty):
            while True:
                keep(client.get_iopub_msg(timeout=1.5))
        assert len(shown) == before, shown[before:]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

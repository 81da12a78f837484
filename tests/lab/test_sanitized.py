"""What GitHub keeps of the HTML in the notebooks' outputs: no style, no script, few elements. The words must stay, in order."""

import html
import re

import bleach
import nbformat
import pytest
from workbench import NOTEBOOKS, copy_for_running, outputs

# The elements and attributes that GitHub's html-pipeline lets through, as far as displays could use them.
ELEMENTS = """h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p picture ol ul table thead tbody tfoot
blockquote dl dt dd kbd q samp var hr ruby rt rp li tr td th s strike summary details caption figure figcaption abbr bdo cite
dfn mark small source span time wbr""".split()
ATTRIBUTES = ["align", "alt", "border", "char", "colspan", "height", "href", "nowrap", "open", "rowspan", "span", "start", "title", "valign", "width"]


def words(markup):
    """The text of a fragment, word by word; elements part words."""
    return html.unescape(re.sub(r"<[^>]*>", " ", markup)).split()


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, tmp_path_factory, chandlery, kernel):
    folder = tmp_path_factory.mktemp("sanitized")
    copy = copy_for_running(request.param, folder, kernel)
    chandlery("run", copy, "-o", folder / "executed.ipynb")
    return folder / "executed.ipynb"


def test_words_and_rows_stay_without_style(executed):
    shown = [output.data["text/html"] for output in outputs(executed) if "text/html" in output.get("data", {})]
    assert shown
    for markup in shown:
        # Both GitHub and an untrusted notebook drop the script that makes tables sortable, with what is in it.
        markup = re.sub(r"<script>[^<]*</script>$", "", markup)
        assert "<script" not in markup and "javascript:" not in markup and not re.search(r"<[^>]*\son\w+=", markup)
        clean = bleach.clean(markup, tags=ELEMENTS, attributes=ATTRIBUTES, strip=True)
        assert "style=" not in clean
        assert words(clean) == words(markup)
        for element in ["tr", "td", "th", "details"]:
            assert len(re.findall(f"<{element}[ >]", clean)) == len(re.findall(f"<{element}[ >]", markup))


def test_plots_have_a_picture_that_github_shows(executed):
    charts = [output.data for output in outputs(executed) if "application/vnd.vegalite.v5+json" in output.get("data", {})]
    assert all("image/png" in data and "image/svg+xml" in data for data in charts)
    assert nbformat.read(executed, as_version=4).cells

"""The glossary and the clinic say what the chapters say, and nothing of either is missing."""
import re
from pathlib import Path
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from genesis_course.pages import anchor, address_of, search_field, table_of, texts_of
from genesis_course.practice import all_exercises

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT/"nbs").glob("[0-9]*.ipynb"))
TERMS = table_of("glossary.csv")
CHINESE = re.compile(r"[(（]([^()（）]*[\u4e00-\u9fff][^()（）]*)[)）]")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chinese_term_of_a_chapter_is_in_the_glossary(chapter):
    known = "、".join(each["chinese"] for each in TERMS)
    for text in texts_of(chapter):
        for bracket in CHINESE.findall(text):
            for term in re.findall(r"[\u4e00-\u9fff]+", bracket): assert term in known, f"{chapter}: {term} ({bracket})"


def test_each_term_is_defined_where_the_glossary_says():
    missing = [f"{each['term']} ({each['chinese']}) in {each['chapter']}" for each in TERMS if each["chapter"] not in CHAPTERS or address_of(each["chinese"], each["chapter"]) is None]
    assert not missing, missing


# What is no prose: code, formulas, links and pictures, headings, quotations, rows of tables
PASSED_OVER = re.compile(r"```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|^[#>|].*$", re.DOTALL | re.MULTILINE)
# Words of ordinary English: their first use in the sense of the field is the definition
ORDINARY = {"exponent", "floor", "kernel", "key", "mode", "momentum", "precision", "query", "truncation", "value"}


def first_uses(each):
    "For each text cell that uses or defines a term, in reading order: chapter, section, and whether it is explained there"
    form = re.compile(rf"(?<![\w-]){re.escape(re.sub(r' [(].*', '', each['term']))}(e?s)?(?![\w-])", re.IGNORECASE)
    for chapter in CHAPTERS:
        section = ""
        for text in texts_of(chapter):
            section = next((line for line in reversed(text.splitlines()) if re.match(r"##+ ", line)), section)
            linked = any(form.search(words) for words in re.findall(r"(?<!!)\[([^\]]*)\]\([^)]*\)", text))
            explained = linked or chapter == each["chapter"] and each["chinese"] in text
            if explained or form.search(PASSED_OVER.sub(" ", text)): yield chapter, section, explained


@pytest.mark.parametrize("each", [each for each in TERMS if each["term"] not in ORDINARY], ids=lambda each: each["term"])
def test_a_term_is_explained_or_linked_at_its_first_use(each):
    chapter, section, explained = next(first_uses(each))
    if explained: return
    assert chapter == each["chapter"] and anchor(section.lstrip("# ")) in (address_of(each["chinese"], chapter) or ""), f"{chapter} uses {each['term']!r} before {each['chapter']} defines it: link it to glossary.ipynb#{anchor(each['term'])}"


def test_the_glossary_can_be_read_at_a_glance():
    terms = [each["term"] for each in TERMS]
    assert terms == sorted(terms, key=str.lower) and len(set(terms)) == len(terms) > 100
    assert len({anchor(term) for term in terms}) == len(terms), "each has an address of its own"
    for each in TERMS:
        assert each["meaning"].endswith(".") and len(each["meaning"].split()) <= 30 and "|" not in each["meaning"], each
        assert re.search(r"[\u4e00-\u9fff]", each["chinese"])


def test_each_case_is_in_the_clinic_once_with_a_probe():
    cases = table_of("clinic.csv")
    known = [each.id[7:] for group in all_exercises().values() for each in group if each.id.startswith("clinic.")]
    assert sorted(case["case"] for case in cases) == sorted(known)
    for case in cases: assert case["probe"] and case["seen"] in {"an error message", "a curve", "a picture or a text", "a number", "nothing at all"}, case
    for case in cases: assert (case["seen"] == "an error message") >= bool(case["error"]), "who sees an error message looks there"


def test_the_field_filters_by_what_is_typed():
    field = search_field("search: a term")
    assert field.count("search: a term") == 2 and "toLowerCase" in field


SAID = {"2": lambda: nn.Linear(8, 1)(torch.zeros(3, 64)), "4": lambda: F.cross_entropy(torch.zeros(1, 10), torch.zeros(5).long()), "5": lambda: torch.zeros(20)-torch.zeros(28),
        "6": lambda: nn.Conv2d(1, 4, 3)(torch.zeros(2, 3, 8, 8)), "7": lambda: nn.Conv2d(3, 4, 3)(torch.zeros(64, 3, 1)), "8": lambda: torch.cat([torch.zeros(1, 2, 3, 3), torch.zeros(1, 2)], dim=1),
        "13": lambda: F.binary_cross_entropy(torch.tensor([2.]), torch.tensor([1.])), "25": lambda: twice(torch.ones(1, requires_grad=True)*2), "92": lambda: torch.zeros(1, 1, 16, 24)+torch.zeros(1, 1, 16, 23)}


def twice(x):
    loss = x.square().sum()
    loss.backward()
    loss.backward()


@pytest.mark.parametrize("case", [case for case in table_of("clinic.csv") if case["error"]], ids=lambda case: case["case"])
def test_pytorch_says_what_the_clinic_quotes(case):
    with pytest.raises((RuntimeError, ValueError)) as caught: SAID[case["case"]]()
    assert case["error"] in str(caught.value)

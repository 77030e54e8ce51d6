"""Pages of one template against copies of one text."""

import pytest
from texts import edited, words

from catalog.lookalikes import Text, other_things
from catalog.minhash import tokenize

TEMPLATE = " ".join(words(80))
ARTICLE = " ".join(words(300))


def text(body: str, title: str = "") -> Text:
    return Text(tokenize(body), tokenize(title))


def apart(one: Text, other: Text) -> bool:
    found, turned, among, _ = other_things([(one, other), (other, one), (one, other), (one, one)]).tolist()
    assert found == turned == among
    return bool(found)


def test_pages_that_differ_in_a_number_are_about_two_things() -> None:
    assert apart(text(f"Order 1234 {TEMPLATE}"), text(f"Order 1235 {TEMPLATE}"))
    assert apart(text(f"{TEMPLATE} reference 17"), text(f"{TEMPLATE} reference 18"))
    assert apart(text(f"订单号：1234。{'您的包裹已经发出' * 8}"), text(f"订单号：1235。{'您的包裹已经发出' * 8}"))


def test_long_pages_are_told_apart_by_a_number_in_their_heading() -> None:
    assert apart(text(f"Invoice 17 {ARTICLE}"), text(f"Invoice 18 {ARTICLE}"))
    first, second = (text(f"{ARTICLE} {n} units", f"Invoice {n}") for n in (17, 18))
    assert apart(first, second)


def test_a_counter_does_not_make_another_article() -> None:
    assert not apart(text(f"{ARTICLE} read by 1234 people"), text(f"{ARTICLE} read by 1310 people"))


def test_names_and_words_of_the_title_fill_templates_too() -> None:
    assert apart(text(f"Weather in Oslo {TEMPLATE}"), text(f"Weather in Bergen {TEMPLATE}"))
    assert apart(text(f"a donkey {TEMPLATE}", "A donkey"), text(f"a ferret {TEMPLATE}", "A ferret"))


@pytest.mark.parametrize("places", [range(3, 80, 20), range(1, 80, 7)])
def test_edits_make_no_other_thing(places: range) -> None:
    assert not apart(text(TEMPLATE), text(edited(TEMPLATE, places)))
    assert not apart(text(TEMPLATE.upper()), text(edited(TEMPLATE, places).upper()))


def test_an_addition_makes_no_other_thing() -> None:
    assert not apart(text(TEMPLATE), text(f"{TEMPLATE} 12 comments"))
    frame = "The Daily Courier 12 May 2026 Subscribe Now And Save"
    assert not apart(text(f"{frame} {TEMPLATE}"), text(f"Northern Herald Published 9 40 By Our Staff {TEMPLATE}"))
    assert not apart(text(TEMPLATE), text(TEMPLATE))

"""One story home for every test that only reads it; tests that damage a home tell the story again."""

from collections.abc import Iterator

import pytest
import storybook


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[storybook.Story]:
    """A home with one of everything that can happen to a URL; not to be changed."""
    told = storybook.tell(tmp_path_factory.mktemp("story") / "home")
    yield told
    told.home.close()

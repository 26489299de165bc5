"""The API as programs use it: gradio_client against the running app."""

import pytest
from gradio_client import Client


@pytest.fixture(scope="module")
def client(space_url) -> Client:
    return Client(space_url, verbose=False)


def test_examples_and_models_are_listed(client, space):
    examples = client.predict(api_name="/examples")
    assert {example["success"] for example in examples} == {True, False}
    assert client.predict(api_name="/models") == list(space.checkpoints)

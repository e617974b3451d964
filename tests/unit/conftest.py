"""Settings of all unit tests, and files that several of them start from."""

import pytest
import torch
from hypothesis import settings

from magicbokeh_ops.weights import checkpoint
from tests.support.ldm_names import single_file_tensors
from tests.support.model_files import ADAPTER, SD
from tests.support.wrong_files import put_wrong_files

settings.register_profile("shared machines", deadline=None)
settings.load_profile("shared machines")


@pytest.fixture(scope="module")
def one_thread():
    """Pictures are small, and threads on a busy machine only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def merged(tmp_path_factory):
    """A merged file of base and adapter."""
    path = tmp_path_factory.mktemp("merged") / "merged.safetensors"
    checkpoint.save(checkpoint.merge(checkpoint.read_base(SD), checkpoint.read_adapter(ADAPTER)), path)
    return path


@pytest.fixture(scope="session")
def single():
    """Tensors of the base under the names of a single file."""
    return single_file_tensors(SD)


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory, merged, single):
    """A folder with everything that people take for the right file."""
    return put_wrong_files(tmp_path_factory.mktemp("files"), merged, single)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A folder with the pools of drawn pictures that runs of training take."""
    from tests.support.training_runs import draw_pools

    return draw_pools(tmp_path_factory.mktemp("drawn"))

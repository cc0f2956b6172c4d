"""Batches: the gather against plain slicing, padding, presence, standardisation, and resuming inside an epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from driver import here
from trivium.data.batch import Batch
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.datamodule import DataModule, choose_reads
from trivium.data.store import Store, open_store, write_store
from trivium.data.synthetic import ensure_fixture
from trivium.data.training_data import TrainingData
from trivium.encoders.pooling import pool_steps

READS = {"text": "values", "audio": "values", "vision": "values"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("data") / "fixture.h5"
    return open_store(ensure_fixture(path, name="fixture", label_range=(-3.0, 3.0)))


def test_a_batch_is_the_clips_it_says_padded_with_zeros(store: Store) -> None:
    clips = store.split("train")
    batch = next(iter(DataModule(store, reads=READS, batch_size=7, seed=5).loader("train", training=True)))
    for name, stream in batch.streams.items():
        for row, clip in enumerate(batch.index.tolist()):
            expected = clips.streams[name][clip]
            length = len(expected)
            assert int(stream.lengths[row]) == length
            np.testing.assert_array_equal(stream.values[row, :length].numpy(), expected)
            assert not stream.values[row, length:].any()
            assert stream.mask[row].tolist() == [t < length for t in range(stream.mask.shape[1])]
        assert stream.values.shape[1] == int(stream.lengths.max())
    np.testing.assert_array_equal(batch.targets["multimodal"], clips.targets["multimodal"][batch.index.numpy()])


def test_zscore_uses_the_train_statistics_in_every_split(store: Store) -> None:
    module = DataModule(store, reads=READS, standardize={"default": "none", "audio": "zscore"})
    values = store.split("train").streams["audio"].values.astype(np.float64)
    batch = next(iter(module.loader("test")))
    clip = store.split("test").streams["audio"][0]
    expected = (clip - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(batch.streams["audio"].values[0, : len(clip)].numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(batch.streams["vision"].values[0, :1], store.split("test").streams["vision"][0][:1])


def test_token_ids_are_served_to_an_encoder_that_reads_them(store: Store) -> None:
    reads = choose_reads(store, ["text", "audio"], {"text"})
    assert reads == {"text": "tokens", "audio": "values"}
    batch = next(iter(DataModule(store, reads=reads).loader("valid")))
    tokens = store.split("valid").tokens
    assert tokens is not None
    assert batch.streams["text"].values.dtype == torch.int64
    assert batch.streams["text"].values[0, : len(tokens[0])].tolist() == tokens[0].tolist()


def test_an_epoch_goes_on_where_its_state_was_saved(store: Store) -> None:
    module = DataModule(store, reads=READS, batch_size=50, seed=2)
    loader = module.loader("train", training=True)
    loader.sampler.set_epoch(4)
    whole = [batch.index.tolist() for batch in loader]
    again = module.loader("train", training=True)
    again.sampler.set_epoch(4)
    iterator = iter(again)
    first = [next(iterator).index.tolist() for _ in range(3)]
    resumed = module.loader("train", training=True)
    resumed.load_state_dict(again.state_dict())
    resumed.sampler.set_epoch(4)
    assert first + [batch.index.tolist() for batch in resumed] == whole
    resumed.sampler.set_epoch(5)
    assert len(list(resumed)) == len(whole)


def test_a_split_on_the_host_is_one_batch_ahead_and_goes_on_where_its_state_was_saved(store: Store) -> None:
    data = DataModule(store, reads=dict.fromkeys(store.schema.dims, "values"), batch_size=4)
    expected = [batch.index.tolist() for batch in data.loader("train", training=True)]
    loader = data.loader("train", training=True)
    loader.split.on_host = True
    made: list[list[int]] = []
    batch_of = loader.split.batch

    def batch(index: torch.Tensor, *more: Any) -> Batch:
        made.append(index.tolist())
        return batch_of(index, *more)

    loader.split.batch = batch  # type: ignore[method-assign]
    batches = iter(loader)
    assert next(batches).index.tolist() == expected[0]
    assert made == expected[:2]
    assert loader.state_dict()["position"] == 1
    again = data.loader("train", training=True)
    again.load_state_dict(loader.state_dict())
    assert [b.index.tolist() for b in again] == [b.index.tolist() for b in batches] == expected[1:]
    assert made == expected


def test_a_mean_is_of_one_value_a_clip(store: Store) -> None:
    batch = next(iter(DataModule(store, reads=READS, batch_size=8).loader("valid")))
    loss = torch.rand(len(batch))
    assert batch.mean(loss).item() == pytest.approx(loss.mean().item())
    for wrong in (loss.mean(), loss[:, None], loss[None]):
        with pytest.raises(AssertionError, match="one value a clip"):
            batch.mean(wrong)


def test_training_and_evaluation_have_batch_sizes_of_their_own(store: Store) -> None:
    module = DataModule(store, reads=READS, batch_size=50, eval_batch_size=40)
    for split, training, sizes in (("train", True, [50] * 6 + [20]), ("valid", False, [40, 40, 16])):
        assert [len(batch) for batch in module.loader(split, training=training)] == sizes
    assert module.train_batches == 7


def _with_gaps(path: Path) -> Store:
    """Clip 1 lacks audio; no clip of the validation split has it."""
    rng = np.random.default_rng(0)

    def clips(split: str, audio_lengths: list[int]) -> Clips:
        n = len(audio_lengths)
        streams = {
            "text": Ragged.pack([rng.normal(size=(3, 4)).astype(np.float32) for _ in range(n)]),
            "audio": Ragged.pack([rng.normal(size=(t, 2)).astype(np.float32) for t in audio_lengths]),
        }
        return Clips([f"{split}{i}" for i in range(n)], streams, {"multimodal": np.zeros(n, np.float32)})

    source = Source({"train": clips("a", [5, 0, 2]), "valid": clips("b", [0, 0])}, "x", [])
    write_store(path, source, data="x", feature_set="x/y", label_range=None)
    return open_store(path)


def test_an_absent_modality_is_one_zero_step_and_not_present(tmp_path: Path) -> None:
    store = _with_gaps(tmp_path / "gaps.h5")
    module = DataModule(store, reads={"text": "values", "audio": "values"}, standardize={"default": "zscore"})
    batch = next(iter(module.loader("train")))
    assert batch.present.tolist() == [[True, True], [True, False], [True, True]]
    audio = batch.streams["audio"]
    assert audio.lengths.tolist() == [5, 1, 2]
    assert not audio.values[1].any()
    assert audio.mask[1].tolist() == [True, False, False, False, False]
    empty = next(iter(module.loader("valid")))
    assert empty.present.tolist() == [[True, False]] * 2
    assert empty.streams["audio"].values.shape == (2, 1, 2)


def test_restrict_zeroes_what_it_hides(store: Store) -> None:
    batch = next(iter(DataModule(store, reads=READS).loader("valid"))).restrict(["audio"])
    assert batch.present[0].tolist() == [False, True, False]
    assert not batch.streams["text"].values.any()
    assert batch.streams["audio"].values.any()
    with pytest.raises(ValueError, match=r"\['smell'\] are not among"):
        batch.restrict(["smell"])


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ({"smell": "values"}, r"no features of 'smell'; it has \['text', 'audio', 'vision'\]"),
        ({}, "nothing to read"),
    ],
)
def test_what_the_store_does_not_have_is_refused(store: Store, reads: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataModule(store, reads=reads)


def test_training_without_a_validation_split_is_refused_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    source = Source({name: store.split(name) for name in ("train", "test")}, "fixture", [])
    path = tmp_path / "no_valid.h5"
    write_store(path, source, data="fixture", feature_set="fixture/no_valid", label_range=(-3.0, 3.0))
    with pytest.raises(
        ValueError, match=r"no_valid\.h5: no split 'valid', by which training selects; it has \['train'"
    ):
        here(tmp_path, f"data.store={path}", f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
    assert len(DataModule(open_store(path), reads=READS).loader("test"))  # but it can be evaluated


class Peeks(L.LightningModule):
    """Asks for a split's loader in one of the hooks of a fit."""

    def __init__(self, hook: str, split: str) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.batches = 0
        setattr(self, hook, lambda: self._peek(split))

    def _peek(self, split: str) -> None:
        self.batches = len(self.trainer.datamodule.loader(split))

    def training_step(self, batch: Batch) -> Tensor:
        return self.layer(batch.targets["multimodal"][:, None]).mean()

    def validation_step(self, batch: Batch) -> None:
        self.training_step(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit_that_peeks(store: Store, hook: str, split: str) -> tuple[Peeks, TrainingData]:
    module = TrainingData(store, reads=READS, limit_batches=2)
    method = Peeks(hook, split)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, datamodule=module)
    return method, module


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_epoch_start", "on_validation_epoch_end", "on_fit_end"])
def test_the_test_split_is_refused_while_a_fit_is_running(store: Store, hook: str) -> None:
    with pytest.raises(RuntimeError, match="the test split is not opened while a fit is running"):
        fit_that_peeks(store, hook, "test")


def test_the_train_split_is_served_inside_a_fit_and_the_test_split_after_it(store: Store) -> None:
    method, module = fit_that_peeks(store, "on_validation_epoch_end", "train")
    assert method.batches == len(module.loader("train"))
    assert len(module.loader("test")) == 1


def test_metrics_that_would_clip_the_labels_are_refused_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data\.metrics=sims: .* labels in \[-1, 1\], and the store's lie in \[-3, 3\]"
    ):
        here(tmp_path, "data.metrics=sims", f"run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_source_standardisation_is_mmsas_mean_over_time(tmp_path: Path) -> None:
    store = _with_gaps(tmp_path / "gaps.h5")
    reads = {"text": "values", "audio": "values"}
    module = DataModule(store, reads=reads, standardize={"default": "none", "audio": "source"})
    with pytest.raises(ValueError, match="only MMSA's loader normalises"):
        module.loader("train")
    object.__setattr__(store.schema, "source_format", "mmsa")
    batch = next(iter(module.loader("train")))
    clips = store.split("train").streams["audio"]
    assert batch.streams["audio"].values.shape == (3, 1, 2)
    for clip in (0, 2):  # of 5 and 2 steps
        found = batch.streams["audio"].values[clip, 0]
        np.testing.assert_allclose(found, clips[clip].mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert batch.present[:, 1].tolist() == [True, False, True]


def test_mean_is_the_average_of_what_zscore_gives_once_for_a_split(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reads, opened in ((READS, store), ({"text": "values", "audio": "values"}, _with_gaps(tmp_path / "gaps.h5"))):
        # Parts of which most clips begin in one and end in another.
        monkeypatch.setattr("trivium.data.datamodule.in_chunks", in_threes)
        of_steps, of_clips = (
            DataModule(opened, reads=reads, standardize={"default": kind, "text": "none"})
            for kind in ("zscore", "mean")
        )
        for split in opened.schema.counts:
            for steps, means in zip(of_steps.loader(split), of_clips.loader(split), strict=True):
                torch.testing.assert_close(means.present, steps.present)
                torch.testing.assert_close(means.streams["text"].values, steps.streams["text"].values)
                expected = pool_steps("mean", steps.streams["audio"].values, steps.streams["audio"].mask)
                assert means.streams["audio"].values.shape == (len(steps), 1, expected.shape[1])
                torch.testing.assert_close(means.streams["audio"].values[:, 0], expected, atol=1e-5, rtol=1e-5)


def in_threes(values: Any) -> Iterator[tuple[int, Any]]:
    for start in range(0, len(values), 3):
        yield start, values[start : start + 3]

"""Many pictures in one call, as the benchmarks of acting sample them: each is what it would be alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.benchmarks.acting.crowd import Pose
from pack.benchmarks.acting.studio import Studio
from pack.demo.measure import SETTINGS, SIDE
from pack.host.acting.run import with_act
from pack.host.recording.sampling import sample
from pack.scenescope.attention.act.place import Place
from pack.scenescope.attention.act.region import RegionTrack, WordRegion
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.world.demo_file import DEMO_FILE

SHORT, SEED = replace(SETTINGS, steps=2), 5
FIRST, SECOND = "a red circle and a green star at night", "a photo of a striped blue square on a floor"
LEFT = torch.zeros(1, SIDE, SIDE)
LEFT[..., : SIDE // 2] = 1
NEAR = 1e-4  # of 0..1: a batch of another size rounds otherwise
EVERYTHING = Selection(branches=("positive",), keep_queries=True, keep_self_queries=True, precision=torch.float32)


@pytest.fixture(scope="module")
def studio() -> Studio:
    """The demo model."""
    return Studio(DEMO_FILE)


def alone(studio: Studio, pose: Pose):
    """The same picture by a run of its own."""
    model = studio.model
    for act in pose.acts:
        model = with_act(model, act)
    blank = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8), "batch_index": [pose.noise]}
    settings = replace(SHORT, seed=SEED)
    latent = sample(model, studio.encode(pose.prompt), studio.negative, blank, settings)["samples"]
    return studio.vae.decode(latent)[0].numpy()


@torch.inference_mode()
def test_each_picture_of_a_crowd_is_steered_as_it_is_alone(studio):
    """Oracle: runs of each picture alone; three kinds of acts, and a picture without any between them."""
    poses = [
        Pose(FIRST, 3, (Steering("red circle", 6.0, -6.0, Place(LEFT), together=1.0), Steering("star", -3.0))),
        Pose(SECOND, 0),
        Pose(SECOND, 3, (Steering("blue square", 2.0, end=0.5),)),
    ]
    pictures = studio.crowd(poses, SEED, SHORT)
    for picture, pose in zip(pictures, poses, strict=True):
        assert abs(picture - alone(studio, pose)).max() < NEAR
    assert abs(pictures[2] - alone(studio, replace(poses[2], acts=()))).max() > 100 * NEAR


@torch.inference_mode()
def test_each_replays_its_own_recording_and_follows_its_own_words(studio, monkeypatch):
    """Oracle: runs alone with the crowd's own recordings; the region of a run alone."""
    monkeypatch.setattr("pack.benchmarks.acting.studio.SETTINGS", SHORT)
    tracks = [RegionTrack(), RegionTrack()]
    regions = [WordRegion("star", tracks[0], "circle", start=0.0), WordRegion("star", tracks[1], "circle", start=0.0)]
    (_, first), (_, second) = studio.recorded([Pose(FIRST, 1, (regions[0],)), Pose(SECOND, 2)], SEED, EVERYTHING)
    poses = [
        Pose(FIRST.replace("red", "blue"), 1, (Replay(first, Playing(1.0, 0.5)),)),
        Pose(SECOND.replace("striped ", ""), 2, (Replay(second, Playing(0.5)),)),
    ]
    for picture, pose in zip(studio.crowd(poses, SEED, SHORT), poses, strict=True):
        assert abs(picture - alone(studio, pose)).max() < NEAR
    alone(studio, Pose(FIRST, 1, (regions[1],)))
    assert sorted(tracks[0].steps) == sorted(tracks[1].steps) == [0, 1]
    assert torch.equal(tracks[0].mask(1), tracks[1].mask(1))

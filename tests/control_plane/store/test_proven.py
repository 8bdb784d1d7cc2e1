from __future__ import annotations

from sqlalchemy import Connection

from contracts.grants import EngineTarget
from control_plane.continuation import Capability
from control_plane.proofs import Proven
from control_plane.store.proven import all_proven, keep_proven, which

ENGINE = EngineTarget(kind="vllm", base_url="http://a.test:1", model="small")


def test_the_last_proof_of_an_engine_and_model_is_kept(connection: Connection) -> None:
    found = Proven(Capability(continues=True, trims=True), "of this one")
    none = Proven(Capability())
    other = EngineTarget(kind="vllm", base_url="http://a.test:1", model="other")
    for engine, said in ((ENGINE, none), (ENGINE, found), (other, found), (other, none)):
        keep_proven(connection, engine, said, 7.0)
    assert all_proven(connection) == {which(ENGINE): found, which(other): none}

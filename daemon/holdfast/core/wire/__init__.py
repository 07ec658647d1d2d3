"""What the supervisor and the training process say to each other."""

from __future__ import annotations

from .codec import MAX_LINE_BYTES, Codec, WireError
from .messages import (
    MOST_METRICS,
    RUN_DIR_VARIABLE,
    SOCKET_VARIABLE,
    Hello,
    Imported,
    Notice,
    NotServed,
    PairHere,
    PairSaved,
    PairWanted,
    Refused,
    Save,
    SaveFailed,
    SavesEvery,
    StacksBy,
    StandingBy,
    Stop,
    TrainingBegan,
    TrainingClaimed,
    TrainingFinished,
    Unprotected,
    Unusable,
    Welcome,
    bounded,
)
from .rank_messages import Leaving, MayLeave, PairWritten, RankState, SaveWanted, StopWanted

__all__ = [
    "MAX_LINE_BYTES",
    "MOST_METRICS",
    "RUN_DIR_VARIABLE",
    "SOCKET_VARIABLE",
    "Hello",
    "Imported",
    "Leaving",
    "MayLeave",
    "Message",
    "NotServed",
    "Notice",
    "PairHere",
    "PairSaved",
    "PairWanted",
    "PairWritten",
    "RankState",
    "Refused",
    "Save",
    "SaveFailed",
    "SaveWanted",
    "SavesEvery",
    "StacksBy",
    "StandingBy",
    "Stop",
    "StopWanted",
    "TrainingBegan",
    "TrainingClaimed",
    "TrainingFinished",
    "Unprotected",
    "Unusable",
    "Welcome",
    "WireError",
    "bounded",
    "decode",
    "encode",
]

Message = (
    Hello
    | StandingBy
    | Welcome
    | Save
    | Stop
    | PairHere
    | TrainingBegan
    | TrainingClaimed
    | PairWanted
    | PairSaved
    | SavesEvery
    | SaveFailed
    | Refused
    | Unusable
    | TrainingFinished
    | Unprotected
    | Imported
    | NotServed
    | StacksBy
    | Notice
    | RankState
    | PairWritten
    | StopWanted
    | SaveWanted
    | Leaving
    | MayLeave
)
_CODEC: Codec[Message] = Codec(Message.__args__)
encode, decode = _CODEC.encode, _CODEC.decode

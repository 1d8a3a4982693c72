//! From errors to gRPC codes: the only file that names [`tonic::Code`].
//!
//! One question chooses the code: could something still be happening on the box? The
//! external-provisioner reads UNAVAILABLE, ABORTED, CANCELLED and DEADLINE_EXCEEDED as "perhaps it
//! is still being made", RESOURCE_EXHAUSTED as "try another place", everything else as the end of
//! this attempt. The external-attacher likewise keeps a VolumeAttachment as "perhaps attached"
//! after the first four and RESOURCE_EXHAUSTED.
//!
//! So an outcome that is not known gets DEADLINE_EXCEEDED: the one of the four that nobody uses for
//! "not begun". UNAVAILABLE means that nothing was begun; that the sidecars hold it for possibly
//! begun costs one more idempotent call. Reasons that end the attempt never use one of the four.

use std::borrow::Cow;

use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

use crate::operations::{Error, Kind};

/// The code for a kind of failure.
fn code(kind: Kind) -> Code {
    match kind {
        Kind::Unavailable => Code::Unavailable,
        Kind::Unknown => Code::DeadlineExceeded,
        // CSI: an operation for the volume is pending, or the page token is not valid.
        Kind::Contended | Kind::Token => Code::Aborted,
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Range => Code::OutOfRange,
        Kind::Full => Code::ResourceExhausted,
        Kind::Refused => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self::new(code(error.kind), error.message)
    }
}

/// A message that prost could not read; `why` is prost's text, which names the field.
pub(super) fn undecodable(why: &str) -> Status {
    Status::new(Code::InvalidArgument, why)
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The code's name in the gRPC specification.
    pub code: &'static str,
    /// The message; empty for OK.
    pub message: String,
}

impl Outcome {
    /// The caller went away, or its deadline passed, before there was an answer.
    pub fn abandoned() -> Self {
        Self { code: name(Code::Cancelled), message: "the caller gave up waiting".into() }
    }

    /// Reads it from the head of a response. A unary call that failed has its status there; one
    /// that succeeded has it behind the body.
    pub fn of(head: &HeaderMap) -> Self {
        let status = Status::from_header_map(head);
        let (code, message) = status.map_or((Code::Ok, Cow::Borrowed("")), |status| {
            (status.code(), Cow::Owned(status.message().to_owned()))
        });
        Self { code: name(code), message: message.into_owned() }
    }

    /// Did it succeed?
    pub fn is_ok(&self) -> bool {
        self.code == name(Code::Ok)
    }

    /// Is there no such method here?
    pub fn is_unimplemented(&self) -> bool {
        self.code == name(Code::Unimplemented)
    }
}

/// The name that the gRPC specification gives to a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const TABLE: [(Kind, &str); 11] = [
        (Kind::Unavailable, "UNAVAILABLE"),
        (Kind::Unknown, "DEADLINE_EXCEEDED"),
        (Kind::Contended, "ABORTED"),
        (Kind::Invalid, "INVALID_ARGUMENT"),
        (Kind::NotFound, "NOT_FOUND"),
        (Kind::Exists, "ALREADY_EXISTS"),
        (Kind::Precondition, "FAILED_PRECONDITION"),
        (Kind::Range, "OUT_OF_RANGE"),
        (Kind::Full, "RESOURCE_EXHAUSTED"),
        (Kind::Token, "ABORTED"),
        (Kind::Refused, "INTERNAL"),
    ];

    #[test]
    fn every_kind_has_its_code_and_keeps_its_message() {
        for (kind, wanted) in TABLE {
            let status = Status::from(Error::new(kind, "why"));
            assert_eq!(name(status.code()), wanted, "{kind:?}");
            assert_eq!(status.message(), "why");
        }
    }

    #[test]
    fn sidecars_read_perhaps_still_running_only_where_it_may_be_tried_again_as_it_is() {
        let pending = ["UNAVAILABLE", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED"];
        for (kind, code) in TABLE {
            let again =
                matches!(kind, Kind::Unavailable | Kind::Unknown | Kind::Contended | Kind::Token);
            assert_eq!(pending.contains(&code), again, "{kind:?}");
        }
    }

    #[test]
    fn an_outcome_is_read_from_the_head_of_a_response() {
        let failed =
            Status::from(Error::new(Kind::NotFound, "no volume \"ä\"\n")).into_http::<()>();
        let outcome = Outcome::of(failed.headers());
        assert_eq!((outcome.code, outcome.message.as_str()), ("NOT_FOUND", "no volume \"ä\"\n"));
        assert!(Outcome::of(&HeaderMap::new()).is_ok());
    }
}

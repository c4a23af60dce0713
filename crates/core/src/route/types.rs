//! What goes into the `route` machine and what comes out of it.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// A target, numbered by the driver; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetId(pub u32);

/// A replica that can be sent requests, numbered by the driver; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointId(pub u32);

/// A request, numbered by the gateway in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// How important a request is; a lower one waits while a higher one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Work nobody waits for.
    Low,
    /// What a request without a header has.
    #[default]
    Normal,
    /// Somebody is looking at the screen.
    High,
}

/// What a target's requests may use. Every field is a limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests waiting at the most (`tidegate.dev/hold-max`).
    pub hold_count_max: u32,
    /// Bytes of bodies waiting at the most.
    pub hold_bytes_max: u64,
    /// How long a request waits for a first replica (`tidegate.dev/hold-timeout`).
    pub wait_no_replica: Span,
    /// How long a request waits while all replicas are busy.
    pub wait_busy: Span,
    /// Requests one endpoint is given at once before anything is learned of it or of another of its
    /// target: what an engine batches by default.
    pub slots: u32,
    /// Requests waiting and in flight of one tenant at the most.
    pub tenant_count_max: u32,
}

/// Whether an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointState {
    /// It does.
    Ready,
    /// It finishes what it has.
    Draining,
}

/// What an engine said of itself when it was scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineLoad {
    /// Requests it runs.
    pub running: u32,
    /// Requests it queues: more than it can batch.
    pub waiting: u32,
    /// Share of its KV cache in use, 0 to 1, where it says so.
    pub kv_use: Option<f64>,
}

/// What the driver knows of a target's next replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Replicas starting.
    pub starting: u32,
    /// When the next of them should be ready; `None` where no start was ever measured.
    pub ready_at: Option<Time>,
    /// What a whole start takes, where one was measured.
    pub start: Option<Span>,
}

/// A request at the door.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number.
    pub request: RequestId,
    /// Where it wants to go.
    pub target: TargetId,
    /// Its priority.
    pub priority: Priority,
    /// Hash of its API key or tenant header; 0 for nobody's, to which no limit of tenants applies.
    pub tenant: u64,
    /// Tokens of its prompt, estimated from bytes.
    pub prompt_tokens: u32,
    /// The most it may write; `None` if it does not say.
    pub max_tokens: Option<u32>,
    /// Hash of the head of its prompt; `None` where it is too short to matter.
    pub prefix: Option<u64>,
    /// Bytes of its body.
    pub bytes: u64,
    /// When its client gives up, if it said so.
    pub deadline: Option<Time>,
}

/// How a request ended at its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Answered; tokens where the engine said so (`usage`).
    Answered {
        /// Prompt tokens counted by the engine.
        prompt_tokens: Option<u32>,
        /// Tokens it wrote.
        output_tokens: Option<u32>,
    },
    /// The endpoint failed before the first byte, and the request is to be tried elsewhere.
    Retry,
    /// The endpoint failed, and the client was told.
    Failed,
    /// The client left.
    Left,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A target is new, or its limits are.
    Target {
        /// Which.
        target: TargetId,
        /// What holds now.
        limits: Limits,
    },
    /// A target is no more: who waits for it is refused. What is in flight is still finished, and its
    /// endpoints still drain.
    TargetGone(TargetId),
    /// An endpoint is there, or changed its state. Its target comes first; an endpoint of an unknown one
    /// is not taken, and has drained at once if it is to drain.
    Endpoint {
        /// Which.
        endpoint: EndpointId,
        /// Of what.
        target: TargetId,
        /// Whether it takes requests.
        state: EndpointState,
    },
    /// An endpoint is no more. Its requests are still finished by the gateway one by one.
    EndpointGone(EndpointId),
    /// An endpoint was scraped.
    Load {
        /// Which.
        endpoint: EndpointId,
        /// What it said.
        load: EngineLoad,
    },
    /// The driver's view of the next replica changed.
    Outlook {
        /// Of what.
        target: TargetId,
        /// What is expected.
        outlook: Outlook,
    },
    /// A request arrived.
    Arrive(Arrival),
    /// The first byte of an answer came from the engine: from now on no retry.
    FirstByte(RequestId),
    /// A dispatched request is over, or is to be placed again.
    Finish {
        /// Which.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// The client of a request that waits is gone. For one in flight the same as `Outcome::Left`, for the
    /// dispatch may cross it on the way.
    Leave(RequestId),
    /// Time passes: waits end, ejections end, demand is sampled.
    Tick,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// As many wait as may.
    HoldFull,
    /// As many bytes wait as may.
    HoldBytesFull,
    /// Longer than a request may wait, and still no replica.
    NoReplicaInTime,
    /// Longer than a request may wait while all are busy.
    BusyTooLong,
    /// The expected wait is longer than its client's deadline.
    DeadlineTooSoon,
    /// Its tenant has as many requests here as it may.
    TenantFull,
    /// The target is no more.
    TargetGone,
    /// Every endpoint it was tried on failed.
    RetriesSpent,
}

/// What a target is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Requests that wait here. Where none does and nothing is in flight: 1 for a client that was refused
    /// because no replica comes in time, until it is due back.
    pub waiting: u32,
    /// Requests at endpoints.
    pub in_flight: u32,
    /// Tokens of those that wait: prompts and what they are expected to write.
    pub waiting_tokens: u64,
    /// Tokens still to be worked on at endpoints.
    pub in_flight_tokens: u64,
}

/// What the gateway is to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Forward a request.
    Dispatch {
        /// Which.
        request: RequestId,
        /// Where.
        endpoint: EndpointId,
    },
    /// It waits. Told once, at arrival or when it must wait again after a retry.
    Hold {
        /// Which.
        request: RequestId,
        /// How long it is expected to wait, where that is known.
        expected: Option<Span>,
        /// Whether it waits for a first replica, rather than for a busy one.
        cold: bool,
    },
    /// Refuse a request, with 429 for a tenant's own limit and 503 for the others.
    Refuse {
        /// Which.
        request: RequestId,
        /// Why.
        refusal: Refusal,
        /// When to come again, honestly.
        retry_after: Option<Span>,
    },
    /// A target's demand: at every edge from and to zero at once, else at most ten times a second.
    Demand {
        /// Of what.
        target: TargetId,
        /// How much.
        demand: Demand,
    },
    /// A draining endpoint has nothing in flight any more: told when that comes to be, and each time the
    /// driver says `Draining` while it is so.
    Drained(EndpointId),
    /// An endpoint failed so often that it gets nothing for a while.
    Ejected {
        /// Which.
        endpoint: EndpointId,
        /// Until when.
        until: Time,
    },
}

/// What is in flight at an endpoint, for pages and for choosing which replica leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EndpointView {
    /// Requests in flight.
    pub in_flight: u32,
    /// Tokens still to be worked on: the replica with the least of them leaves first.
    pub tokens: u64,
    /// Requests it is given at the most, as learned.
    pub slots: u32,
    /// How long its work should take.
    pub drain: Span,
    /// Whether it is ejected now.
    pub ejected: bool,
}

/// A request that waits, for pages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Held {
    /// Which.
    pub request: RequestId,
    /// Its priority.
    pub priority: Priority,
    /// When it arrived.
    pub since: Time,
    /// Tokens of its prompt, as the gateway estimated them.
    pub prompt_tokens: u32,
    /// How long it is still expected to wait, where that is known.
    pub expected: Option<Span>,
}

//! What each kind has beside its schema: columns, defaults, rules that hold without any controller. The invariant: a
//! default here is what `resolve` fills in anyway, so that an object reads the same whether a server has stored it or
//! not; a field whose unset state means "as further out" has no default.

use serde_json::{Value, json};

/// What a kind adds to its schema.
pub(super) struct Extras {
    /// What `kubectl get` shows beside the name.
    pub(super) columns: &'static [Column],
    /// Values that the API server fills in, as JSON, by path.
    pub(super) defaults: &'static [(&'static str, &'static str)],
    /// Lists whose items are told apart by a member, so that two appliers can own items of one list.
    pub(super) maps: &'static [(&'static str, &'static str)],
    /// What the API server refuses by itself.
    pub(super) rules: &'static [Rule],
    /// Where fields are that another place describes: `kubectl apply` of old keeps the whole definition in an annotation
    /// of at most 256 KiB.
    pub(super) undescribed: &'static [&'static str],
    /// Whether `kubectl scale` and a HorizontalPodAutoscaler can set its replicas.
    pub(super) scales: bool,
}

/// A column of `kubectl get`.
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    path: &'static str,
    is_wide: bool,
}

impl Column {
    const fn new(name: &'static str, kind: &'static str, path: &'static str) -> Self {
        Self { name, kind, path, is_wide: false }
    }

    /// Shown with `-o wide` only.
    const fn wide(name: &'static str, kind: &'static str, path: &'static str) -> Self {
        Self { name, kind, path, is_wide: true }
    }

    pub(super) fn to_value(&self) -> Value {
        let Self { name, kind, path, is_wide } = self;
        let mut column = json!({"name": name, "type": kind, "jsonPath": path});
        if *is_wide {
            column["priority"] = json!(10);
        }
        column
    }
}

/// A rule in the Common Expression Language.
pub(super) struct Rule {
    pub(super) path: &'static str,
    pub(super) holds: &'static str,
    pub(super) message: &'static str,
}

const PHASE: Column = Column::new("Phase", "string", ".status.phase");
const AGE: Column = Column::new("Age", "date", ".metadata.creationTimestamp");
const REASON: Column = Column::new("Reason", "string", ".status.reason");
const MESSAGE: Column = Column::new("Message", "string", ".status.message");

/// Replicas are shown as text, so that a zero is seen and nothing is not.
const SCALED: [Column; 7] = [
    PHASE,
    Column::new("Desired", "string", ".status.desiredReplicas"),
    Column::new("Current", "string", ".status.replicas"),
    Column::new("Ready", "string", ".status.readyReplicas"),
    AGE,
    REASON,
    MESSAGE,
];

const CONDITIONS: (&str, &str) = ("status.conditions", "type");

pub(super) const INTER_STEP_BUFFER_SERVICE: Extras = Extras {
    columns: &[Column::new("Type", "string", ".status.type"), PHASE, AGE, MESSAGE],
    defaults: &[("spec.jetstream.replicas", "3")],
    maps: &[CONDITIONS],
    rules: &[
        Rule {
            path: "spec",
            holds: "has(self.jetstream)",
            message: "a buffer service needs the block `jetstream`; write `jetstream: {version: latest}`",
        },
        Rule {
            path: "spec.jetstream",
            holds: "has(self.version) && self.version != ''",
            message: "the version is missing; write for example `version: latest`",
        },
        Rule {
            path: "spec.jetstream",
            holds: "!has(self.replicas) || (self.replicas >= 1 && self.replicas != 2)",
            message: "at least 1 server is needed, and 2 cannot agree when one is gone; write 1, 3 or 5",
        },
        Rule {
            path: "spec.jetstream",
            holds: "has(self.persistence) == has(oldSelf.persistence) && \
                   (!has(self.persistence) || self.persistence == oldSelf.persistence)",
            message: "the volumes of a buffer service cannot change; make another service beside it",
        },
        Rule {
            path: "spec.jetstream",
            holds: "(has(self.replicas) ? self.replicas : 3) >= (has(oldSelf.replicas) ? oldSelf.replicas : 3) && \
                    ((has(self.replicas) ? self.replicas : 3) >= 3) == ((has(oldSelf.replicas) ? oldSelf.replicas : 3) >= 3)",
            message: "servers can be added to three or more, and not be taken away, because what they keep would be lost; \
                      make another service beside it",
        },
        Rule {
            path: "spec.jetstream",
            holds: "(has(self.tls) && self.tls) == (has(oldSelf.tls) && oldSelf.tls)",
            message: "tls cannot be switched while servers talk to each other; make another service beside it",
        },
        Rule {
            path: "spec.jetstream",
            holds: "(has(self.encryption) && self.encryption) == (has(oldSelf.encryption) && oldSelf.encryption)",
            message: "the encryption of what lies on disk cannot be switched; make another service beside it",
        },
    ],
    undescribed: &[],
    scales: false,
};

pub(super) const PIPELINE: Extras = Extras {
    columns: &[
        PHASE,
        Column::new("Vertices", "integer", ".status.vertexCount"),
        Column::wide("Sources", "integer", ".status.sourceCount"),
        Column::wide("Sinks", "integer", ".status.sinkCount"),
        Column::wide("UDFs", "integer", ".status.udfCount"),
        Column::wide("Map UDFs", "integer", ".status.mapUDFCount"),
        Column::wide("Reduce UDFs", "integer", ".status.reduceUDFCount"),
        AGE,
        MESSAGE,
    ],
    defaults: &[
        ("spec.lifecycle", "{}"),
        ("spec.lifecycle.desiredPhase", "\"Running\""),
        ("spec.lifecycle.pauseGracePeriodSeconds", "30"),
        ("spec.limits", "{}"),
        ("spec.limits.readBatchSize", "500"),
        ("spec.limits.bufferMaxLength", "30000"),
        ("spec.limits.bufferUsageLimit", "80"),
        ("spec.watermark", "{}"),
        ("spec.watermark.disabled", "false"),
        ("spec.watermark.maxDelay", "\"0s\""),
        ("spec.vertices[].source.generator.rpu", "5"),
        ("spec.vertices[].source.generator.duration", "\"1s\""),
        ("spec.vertices[].source.generator.msgSize", "8"),
    ],
    maps: &[CONDITIONS, ("spec.vertices", "name")],
    rules: &[
        Rule {
            path: "spec",
            holds: "has(self.vertices) && self.vertices.size() > 0",
            message: "a pipeline needs at least a source vertex and a sink vertex",
        },
        Rule {
            path: "spec",
            holds: "has(self.edges) && self.edges.size() > 0",
            message: "a pipeline needs at least one edge",
        },
        Rule {
            path: "spec",
            holds: "(has(self.interStepBufferServiceName) && self.interStepBufferServiceName != '' ? \
                   self.interStepBufferServiceName : 'default') == \
                   (has(oldSelf.interStepBufferServiceName) && oldSelf.interStepBufferServiceName != '' ? \
                   oldSelf.interStepBufferServiceName : 'default')",
            message: "the buffer service of a pipeline cannot change; make another pipeline beside it",
        },
        Rule {
            path: "spec.vertices[]",
            holds: "(has(self.source) ? 1 : 0) + (has(self.sink) ? 1 : 0) + (has(self.udf) ? 1 : 0) == 1",
            message: "a vertex has exactly one of `source`, `sink` and `udf`",
        },
    ],
    undescribed: &["spec.templates"],
    scales: false,
};

pub(super) const VERTEX: Extras = Extras {
    columns: &SCALED,
    defaults: &[("spec.replicas", "1")],
    maps: &[CONDITIONS],
    rules: &[],
    undescribed: &[],
    scales: true,
};

pub(super) const MONO_VERTEX: Extras = Extras {
    columns: &SCALED,
    defaults: &[
        ("spec.replicas", "1"),
        ("spec.lifecycle", "{}"),
        ("spec.lifecycle.desiredPhase", "\"Running\""),
        ("spec.source.generator.rpu", "5"),
        ("spec.source.generator.duration", "\"1s\""),
        ("spec.source.generator.msgSize", "8"),
    ],
    maps: &[CONDITIONS],
    rules: &[
        Rule {
            path: "spec",
            holds: "has(self.source)",
            message: "a mono vertex needs a source; write for example `source: {generator: {}}`",
        },
        Rule {
            path: "spec",
            holds: "has(self.sink)",
            message: "a mono vertex needs a sink; write for example `sink: {log: {}}`",
        },
    ],
    undescribed: &[],
    scales: true,
};

pub(super) const SERVING_PIPELINE: Extras = Extras {
    columns: &[PHASE, AGE, MESSAGE],
    defaults: &[],
    maps: &[CONDITIONS],
    rules: &[],
    undescribed: &["spec.pipeline"],
    scales: false,
};

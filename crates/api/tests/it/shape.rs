//! Unknown fields, wrong types and missing fields, at every depth and all at once.

use crate::fixture::{assert_complaints, first, middle, mono_vertex, pipeline};

fn hint_of(complaints: &[tidegate_api::Complaint], path: &str) -> String {
    complaints
        .iter()
        .find(|complaint| complaint.path.to_string() == path)
        .expect("a complaint there")
        .hint
        .clone()
}

#[test]
fn unknown_fields_get_a_suggestion_at_every_depth() {
    let table = [
        (
            "spec.vertices[1].udf.contaner",
            "      udf:\n        contaner: {image: x}",
            "did you mean `container`?",
        ),
        (
            "spec.vertices[1].limits.readBatchsize",
            "      udf: {container: {image: x}}\n      limits:\n        readBatchsize: 5",
            "did you mean `readBatchSize`?",
        ),
        (
            "spec.vertices[1].udf.container.imagePullpolicy",
            "      udf:\n        container:\n          image: x\n          imagePullpolicy: Always",
            "did you mean `imagePullPolicy`?",
        ),
        (
            "spec.vertices[1].scale.cron.schedules[0].strat",
            "      udf: {container: {image: x}}\n      scale:\n        cron:\n          schedules:\n            - strat: 0 0 0 * * *",
            "did you mean `start`?",
        ),
        // A field of a neighbour: right name, wrong place.
        (
            "spec.vertices[1].readBatchSize",
            "      udf: {container: {image: x}}\n      readBatchSize: 5",
            "`readBatchSize` belongs inside `limits`",
        ),
        (
            "spec.vertices[1].udf.partitions",
            "      udf:\n        container: {image: x}\n        partitions: 3",
            "`partitions` belongs to `spec.vertices[1]`; look at the indentation",
        ),
    ];
    for (path, vertex, hint) in table {
        let loaded = tidegate_api::load([("f", middle(vertex).as_bytes())]);
        let unknown: Vec<_> =
            loaded.complaints.iter().filter(|complaint| complaint.rule == "unknown-field").collect();
        assert_eq!(unknown.len(), 1, "{vertex}");
        assert_eq!((unknown[0].path.to_string().as_str(), unknown[0].hint.as_str()), (path, hint));
        assert!(unknown[0].is_error());
    }
}

#[test]
fn fields_that_are_like_nothing_here_are_warnings() {
    let text = middle("      udf: {container: {image: x}}").replace(
        "    - {from: in, to: v}",
        "    - from: in
      to: v
      edgePartitions: y # => unknown-field spec.edges[0].edgePartitions",
    );
    let complaints = assert_complaints(&text);
    assert_eq!(complaints[0].severity, tidegate_api::Severity::Warning);
    assert_eq!(complaints[0].hint, "known here: `from`, `to`, `conditions`, `onFull`");
    assert!(complaints[0].message.ends_with("so it has no effect"));
}

#[test]
fn snake_case_fields_are_known_and_their_camel_case_is_not() {
    assert_complaints(&first(
        "      source: {jetstream: {url: a, stream: b, deliver_policy: all, filter_subjects: [c]}}",
    ));
    let complaints = assert_complaints(&first(
        "      source:
        jetstream:
          url: a
          stream: b
          deliverPolicy: all # => unknown-field spec.vertices[0].source.jetstream.deliverPolicy",
    ));
    assert_eq!(
        hint_of(&complaints, "spec.vertices[0].source.jetstream.deliverPolicy"),
        "did you mean `deliver_policy`?"
    );
}

#[test]
fn unknown_fields_of_kubernetes_types_are_warnings() {
    let complaints = assert_complaints(&middle(
        "      udf: {container: {image: x}}
      affinity:
        podAntiAfinity: {} # => unknown-field spec.vertices[1].affinity.podAntiAfinity",
    ));
    assert_eq!(complaints[0].severity, tidegate_api::Severity::Warning);
    assert_eq!(complaints[0].hint, "did you mean `podAntiAffinity`?");
}

#[test]
fn kubernetes_types_of_any_depth_are_taken_as_they_are() {
    assert_complaints(&middle(
        "      udf:
        container:
          image: x
          env:
            - {name: A, value: b}
            - {name: S, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
            - {name: F, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          envFrom: [{configMapRef: {name: c}}, {prefix: P_, secretRef: {name: s}}]
          resources:
            requests: {cpu: 1, memory: 128Mi, ephemeral-storage: 1.5Gi}
            limits: {cpu: 0.5, nvidia.com/gpu: 1}
          securityContext: {runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
          volumeMounts: [{name: c, mountPath: /c, subPath: d, readOnly: true}]
          ports: [{containerPort: 8080, protocol: TCP}]
      volumes:
        - {name: c, configMap: {name: cm, defaultMode: 0644, items: [{key: a, path: b}]}}
        - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
        - {name: s, secret: {secretName: x}}
        - {name: p, projected: {sources: [{secret: {name: a}}, {downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}]}}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}
      tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 5}]
      sidecars:
        - name: side
          image: y
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 5}
          livenessProbe: {tcpSocket: {port: 80}}
          lifecycle: {preStop: {exec: {command: [sleep, '5']}}}
      dnsConfig: {options: [{name: ndots, value: '2'}]}
      metadata: {labels: {a.b/c: d}, annotations: {e: f}}",
    ));
}

#[test]
fn metadata_and_status_of_a_live_object_are_no_trouble() {
    let text = mono_vertex("  source: {generator: {}}\n  sink: {log: {}}").replace(
        "  name: m\n",
        "  name: m
  uid: 6a0b
  generation: 4
  resourceVersion: '123'
  creationTimestamp: '2024-01-02T03:04:05Z'
  managedFields:
    - {manager: kubectl, operation: Update, apiVersion: numaflow.numaproj.io/v1alpha1, fieldsType: FieldsV1, fieldsV1: {f:spec: {}}, time: '2024-01-02T03:04:05Z'}
",
    );
    assert_complaints(&format!("{text}status: {{whatever: 1, phase: Strange}}\n"));
}

#[test]
fn wrong_types_hide_nothing() {
    let complaints = assert_complaints(&pipeline(
        "  limits:
    readBatchSize: many # => type spec.limits.readBatchSize
    readTimeout: 30 # => type spec.limits.readTimeout
    bufferMaxLength: 1.5 # => type spec.limits.bufferMaxLength
    bufferUsageLimit: 4294967296 # => range spec.limits.bufferUsageLimit
  watermark:
    disabled: 'yes' # => type spec.watermark.disabled
    maxDelay: 1d # => duration spec.watermark.maxDelay
  vertices:
    - name: in
      source: generator # => type spec.vertices[0].source
    - just text # => type spec.vertices[1]
    - name: out
      sink: {log: {}}
      partitions: '2' # => type spec.vertices[2].partitions
      limits:
        concurrency: -1 # => range spec.vertices[2].limits.concurrency
      containerTemplate:
        resources:
          requests: {cpu: 1x} # => quantity spec.vertices[2].containerTemplate.resources.requests.cpu
        env: {A: b} # => type spec.vertices[2].containerTemplate.env
    - name: 5 # => type spec.vertices[3].name
      udf: {container: {image: x}}
  edges:
    - {from: in, to: 5} # => type spec.edges[0].to
    - {from: 5, to: out} # => type spec.edges[1].from
    - {from: out, to: nobody} # => edge-unknown-vertex spec.edges[2].to",
    ));
    let hint = |path: &str| hint_of(&complaints, path);
    assert_eq!(hint("spec.limits.readTimeout"), "write 30s for seconds");
    assert_eq!(hint("spec.vertices[2].partitions"), "leave out the quotes");
    assert_eq!(hint("spec.edges[0].to"), "put it in quotes: \"5\"");
    assert_eq!(hint("spec.watermark.disabled"), "write true or false without quotes");
}

//! Rules of vertices and of what is inside them.

use crate::fixture::{assert_complaints, first, last, middle};

#[test]
fn vertex_names_are_dns_labels() {
    assert_complaints(
        &first("      source: {generator: {}}")
            .replace("name: in\n", "name: In # => vertex-name spec.vertices[0].name\n")
            .replace("from: in,", "from: In,"),
    );
    assert_complaints(
        &middle("      udf: {container: {image: x}} # => required spec.vertices[1].name")
            .replace("    - name: v\n", "    -\n")
            .replace("{from: in, to: v}", "{from: in, to: out}")
            .replace("    - {from: v, to: out}\n", ""),
    );
}

#[test]
fn only_sources_scale_by_the_clock() {
    let cron = "      scale:
        cron: # => scale-cron-not-source spec.vertices[1].scale.cron
          schedules: [{start: 0 0 8 * * *, end: 0 0 18 * * *, min: 1, max: 2}]";
    assert_complaints(&middle(&format!("      udf: {{container: {{image: x}}}}\n{cron}")));
}

#[test]
fn scale_bounds_make_sense() {
    assert_complaints(&first(
        "      source: {generator: {}}
      scale:
        min: -1 # => scale-negative spec.vertices[0].scale.min
        max: -2 # => scale-negative spec.vertices[0].scale.max
        lookbackSeconds: -5 # => range spec.vertices[0].scale.lookbackSeconds
        targetBufferAvailability: 101 # => scale-percentage spec.vertices[0].scale.targetBufferAvailability
        replicasPerScale: 3 # => deprecated spec.vertices[0].scale.replicasPerScale",
    ));
    assert_complaints(&first(
        "      source: {generator: {}}\n      scale:\n        min: 51 # => scale-bounds spec.vertices[0].scale.min",
    ));
    assert_complaints(&first(
        "      source: {generator: {}}\n      scale:\n        max: 2\n        min: 3 # => scale-bounds spec.vertices[0].scale.min",
    ));
}

#[test]
fn schedules_of_the_clock_are_complete() {
    let at = |lines: &str| first(&format!("      source: {{generator: {{}}}}\n      scale:\n{lines}"));
    assert_complaints(&at("        min: 1
        max: 4
        cron:
          timezone: America/New_York
          schedules:
            - {start: 0 0 8 * * MON-FRI, end: 0 0 18 * * MON-FRI, min: 2, max: 20}"));
    assert_complaints(&at("        disabled: true
        cron: # => scale-cron-disabled spec.vertices[0].scale.cron
          timezone: Mars/Olympus # => timezone spec.vertices[0].scale.cron.timezone
          schedules: [] # => scale-cron-empty spec.vertices[0].scale.cron.schedules"));
    assert_complaints(&at(
        "        cron: {timezone: UTC} # => required spec.vertices[0].scale.cron.schedules",
    ));
    assert_complaints(&at(
        "        cron:
          timezone: utc # => timezone spec.vertices[0].scale.cron.timezone
          schedules:
            - start: 0 8 * * * # => scale-cron-expression spec.vertices[0].scale.cron.schedules[0].start
              end: '@daily' # => scale-cron-expression spec.vertices[0].scale.cron.schedules[0].end
              min: 1
              max: 2
            - start: 0 0 8 * * *
              end: 0 0 8 * * * # => scale-cron-same spec.vertices[0].scale.cron.schedules[1].end
              min: 1
              max: 2
            - start: 0 0 8 * * 1
              end: 0 0 8 * * 2 # => scale-cron-days spec.vertices[0].scale.cron.schedules[2].end
              min: -1 # => scale-cron-replicas spec.vertices[0].scale.cron.schedules[2].min
              max: 2
            - start: 0 0 8 * * *
              end: 0 0 9 * * *
              min: 3 # => scale-cron-replicas spec.vertices[0].scale.cron.schedules[3].min
              max: 2
            - {start: 0 0 8 * * *, end: 0 0 9 * * *, max: 2} # => scale-cron-replicas spec.vertices[0].scale.cron.schedules[4].min",
    ));
}

#[test]
fn partitions_are_for_vertices_that_can_have_them() {
    assert_complaints(&middle(
        "      udf: {container: {image: x}}\n      partitions: -1 # => partitions-negative spec.vertices[1].partitions",
    ));
    assert_complaints(&middle("      udf: {container: {image: x}}\n      partitions: 0"));
    assert_complaints(&first(
        "      source: {generator: {}}\n      partitions: 2 # => partitions-on-source spec.vertices[0].partitions",
    ));
    let reduce = |rest: &str| {
        middle(&format!(
            "      udf: {{container: {{image: x}}, groupBy: {{{rest}window: {{fixed: {{length: 1m}}}}, storage: {{emptyDir: {{}}}}}}}}
      partitions: 2"
        ))
    };
    assert_complaints(&reduce("keyed: true, "));
    let bad = reduce("")
        .replace("partitions: 2", "partitions: 2 # => partitions-without-keys spec.vertices[1].partitions");
    assert_complaints(&bad);
}

#[test]
fn update_strategies_make_sense() {
    let with = |lines: &str| {
        middle(&format!("      udf: {{container: {{image: x}}}}\n      updateStrategy:\n{lines}"))
    };
    for good in ["1", "25%", "'3'", "0"] {
        assert_complaints(&with(&format!("        rollingUpdate: {{maxUnavailable: {good}}}")));
    }
    for bad in ["-1", "25%%", "a", "'%'", "''"] {
        assert_complaints(&with(&format!(
            "        rollingUpdate:\n          maxUnavailable: {bad} # => max-unavailable spec.vertices[1].updateStrategy.rollingUpdate.maxUnavailable"
        )));
    }
    assert_complaints(&with(
        "        type: Canry # => update-type spec.vertices[1].updateStrategy.type
        rollingUpdate: {maxUnavailable: 0, maxSurge: 0%} # => update-both-zero spec.vertices[1].updateStrategy.rollingUpdate",
    ));
    assert_complaints(&with(
        "        type: BlueGreen
        canary: # => update-unused spec.vertices[1].updateStrategy.canary
          steps:
            - {setWeight: 10}
            - {setWeight: 10, pause: {}} # => canary-step spec.vertices[1].updateStrategy.canary.steps[1]
            - {setWeight: 101} # => range spec.vertices[1].updateStrategy.canary.steps[2].setWeight; canary-step spec.vertices[1].updateStrategy.canary.steps[2]
            - {analysis: {for: 0s}} # => canary-analysis spec.vertices[1].updateStrategy.canary.steps[3].analysis.for
        blueGreen: {autoPromote: false, previewSeconds: 1, keepOldSeconds: 2}
        analysis:
          maxErrorRatio: '1' # => analysis-ratio spec.vertices[1].updateStrategy.analysis.maxErrorRatio
          outputRatioTolerance: 5%
          maxLatencyRatio: 0 # => analysis-latency spec.vertices[1].updateStrategy.analysis.maxLatencyRatio
          prometheus:
            - {name: a, address: b, query: c} # => analysis-query spec.vertices[1].updateStrategy.analysis.prometheus[0]",
    ));
    for good in ["minReadySeconds: 599", "minReadySeconds: 9\n        progressDeadlineSeconds: 10"] {
        assert_complaints(&with(&format!("        {good}")));
    }
    assert_complaints(&with(
        "        minReadySeconds: 600 # => update-deadline spec.vertices[1].updateStrategy.minReadySeconds",
    ));
    assert_complaints(&with(
        "        minReadySeconds: 10
        progressDeadlineSeconds: 10 # => update-deadline spec.vertices[1].updateStrategy.progressDeadlineSeconds",
    ));
    let mark = "updateStrategy: # => canary-steps spec.vertices[1].updateStrategy.canary.steps\n";
    assert_complaints(&with("        type: Canary").replace("updateStrategy:\n", mark));
}

#[test]
fn user_code_is_given_some_time() {
    assert_complaints(&middle(
        "      udf: {container: {image: x}}
      userCode:
        unresponsiveAfter: 0s # => user-code-time spec.vertices[1].userCode.unresponsiveAfter
        poisonAttempts: 0 # => range spec.vertices[1].userCode.poisonAttempts",
    ));
    assert_complaints(&middle(
        "      udf: {container: {image: x}}\n      userCode: {unresponsiveAfter: 1ms, poisonAttempts: 1}",
    ));
    assert_complaints(&crate::fixture::mono_vertex(
        "  source: {generator: {}}
  sink: {log: {}}
  userCode:
    unresponsiveAfter: 0s # => user-code-time spec.userCode.unresponsiveAfter",
    ));
}

#[test]
fn container_names_of_the_platform_are_reserved() {
    let reserved = [
        "init",
        "numa",
        "udf",
        "udsink",
        "fb-udsink",
        "ons-udsink",
        "transformer",
        "udsource",
        "udsi",
        "init-side-inputs",
        "side-inputs-synchronizer",
    ];
    for name in reserved {
        assert_complaints(&middle(&format!(
            "      udf: {{container: {{image: x}}}}
      initContainers: [{{name: {name}, image: x}}] # => container-reserved spec.vertices[1].initContainers[0].name
      sidecars:
        - {{name: fine, image: x}}
        - {{name: {name}, image: x}} # => container-reserved spec.vertices[1].sidecars[1].name"
        )));
    }
    for name in ["udstore", "serving", "validate-stream-init"] {
        assert_complaints(&middle(&format!(
            "      udf: {{container: {{image: x}}}}\n      initContainers: [{{name: {name}, image: x}}]"
        )));
    }
}

#[test]
fn sources_have_no_sidecars() {
    assert_complaints(&first(
        "      source: {generator: {}}\n      sidecars: [{name: a, image: x}] # => sidecar-on-source spec.vertices[0].sidecars",
    ));
}

#[test]
fn a_source_says_what_it_reads_from() {
    assert_complaints(&first("      source: {} # => source-missing spec.vertices[0].source"));
    let complaints = assert_complaints(&first(
        "      source: # => source-missing spec.vertices[0].source
        http: # => null-object spec.vertices[0].source.http",
    ));
    assert_eq!(complaints[1].hint, "write `http: {}`");
    assert_complaints(&first(
        "      source:
        http: {} # => source-several spec.vertices[0].source.http
        generator: {}",
    ));
}

#[test]
fn transformers_have_an_image_and_no_fallback() {
    assert_complaints(&first(
        "      source:
        generator: {}
        transformer: {} # => transformer-container spec.vertices[0].source.transformer.container",
    ));
    assert_complaints(&first(
        "      source:
        generator: {}
        transformer:
          container: {} # => transformer-image spec.vertices[0].source.transformer.container.image
          retryStrategy:
            onFailure: fallback # => transformer-fallback spec.vertices[0].source.transformer.retryStrategy.onFailure",
    ));
}

#[test]
fn a_udsource_has_an_image_and_excludes_some_others() {
    assert_complaints(&first(
        "      source:
        udsource:
          container: {command: [x]} # => udsource-image spec.vertices[0].source.udsource.container.image",
    ));
    for other in [
        "http: {}",
        "generator: {}",
        "kafka: {brokers: [a], topic: t}",
        "nats: {url: a, subject: b, queue: c}",
    ] {
        let name = other.split(':').next().unwrap();
        assert_complaints(&first(&format!(
            "      source:
        udsource: {{container: {{image: x}}}}
        {other} # => udsource-with-builtin spec.vertices[0].source.{name}"
        )));
    }
    assert_complaints(&first(
        "      source:
        udsource: {container: {image: x}}
        jetstream: {url: a, stream: b} # => source-several spec.vertices[0].source.jetstream",
    ));
}

#[test]
fn sqs_sources_name_queue_and_role() {
    assert_complaints(&first(
        "      source:
        sqs:
          awsRegion: '' # => sqs-region spec.vertices[0].source.sqs.awsRegion
          queueName: '' # => sqs-queue spec.vertices[0].source.sqs.queueName
          queueOwnerAWSAccountID: '12345' # => sqs-account spec.vertices[0].source.sqs.queueOwnerAWSAccountID
          visibilityTimeout: 43201 # => sqs-range spec.vertices[0].source.sqs.visibilityTimeout
          maxNumberOfMessages: 0 # => sqs-range spec.vertices[0].source.sqs.maxNumberOfMessages
          waitTimeSeconds: 21 # => sqs-range spec.vertices[0].source.sqs.waitTimeSeconds
          assumeRole:
            roleArn: arn:aws:iam::123456789012:user/x # => assume-role-arn spec.vertices[0].source.sqs.assumeRole.roleArn
            durationSeconds: 899 # => assume-role-duration spec.vertices[0].source.sqs.assumeRole.durationSeconds
            sessionName: a # => assume-role-session spec.vertices[0].source.sqs.assumeRole.sessionName",
    ));
    assert_complaints(&first(
        "      source: {sqs: {awsRegion: eu, queueName: q, queueOwnerAWSAccountID: '012345678901'}}",
    ));
    assert_complaints(&first(
        "      source: {sqs: {awsRegion: eu}} # => required spec.vertices[0].source.sqs.queueName; required spec.vertices[0].source.sqs.queueOwnerAWSAccountID",
    ));
}

#[test]
fn built_in_sources_are_complete() {
    assert_complaints(&first(
        "      source:
        generator:
          rpu: -1 # => generator-rpu spec.vertices[0].source.generator.rpu
          duration: 0s # => generator-duration spec.vertices[0].source.generator.duration
          keyCount: 256 # => generator-keys spec.vertices[0].source.generator.keyCount
          valueBlob: '%%%' # => generator-blob spec.vertices[0].source.generator.valueBlob
          msgSize: -1",
    ));
    assert_complaints(&first("      source: {generator: {duration: 10ms, msgSize: 262144}}"));
    let complaints = assert_complaints(&first(
        "      source:
        generator:
          duration: 9999us # => generator-duration spec.vertices[0].source.generator.duration
          msgSize: 262145 # => generator-size spec.vertices[0].source.generator.msgSize",
    ));
    assert_eq!(complaints[0].message, "the unit of time is 9.999ms, at least 10ms is needed");
    assert!(complaints.iter().all(|complaint| !complaint.hint.is_empty()));
    assert_complaints(&first(
        "      source:
        http:
          ports:
            https: 0 # => port-range spec.vertices[0].source.http.ports.https
            http: 70000 # => port-range spec.vertices[0].source.http.ports.http",
    ));
    assert_complaints(&first(
        "      source:\n        http: {ports: {http: 8443}} # => port-clash spec.vertices[0].source.http.ports.http",
    ));
    assert_complaints(&first(
        "      source:
        kafka: # => kafka-brokers spec.vertices[0].source.kafka.brokers
          topic: '' # => empty spec.vertices[0].source.kafka.topic
          tls: {certSecret: {name: a, key: b}} # => tls-key spec.vertices[0].source.kafka.tls.keySecret
          sasl: {mechanism: plian} # => sasl-mechanism spec.vertices[0].source.kafka.sasl.mechanism",
    ));
    assert_complaints(&first(
        "      source:
        kafka:
          brokers: [a]
          topic: t
          sasl: {mechanism: scram-sha-256, plain: {userSecret: {name: a, key: b}, handshake: true}} # => sasl-block spec.vertices[0].source.kafka.sasl.scramsha256",
    ));
    assert_complaints(&first(
        "      source:
        kafka:
          brokers: [a]
          topic: t
          sasl: {mechanism: PLAIN, plain: {userSecret: {name: a, key: b}, handshake: true}} # => sasl-password spec.vertices[0].source.kafka.sasl.plain.passwordSecret",
    ));
    assert_complaints(&first(
        "      source:\n        nats: {url: a, subject: b, queue: c, auth: {}} # => auth-empty spec.vertices[0].source.nats.auth",
    ));
    for (policy, mark) in [
        ("ALL", ""),
        ("by_start_sequence 5", ""),
        ("by_start_time 1700000000000", ""),
        ("by_start_sequence", " # => deliver-policy spec.vertices[0].source.jetstream.deliver_policy"),
        ("newest", " # => deliver-policy spec.vertices[0].source.jetstream.deliver_policy"),
    ] {
        assert_complaints(&first(&format!(
            "      source:\n        jetstream:\n          url: a\n          stream: b\n          deliver_policy: {policy}{mark}"
        )));
    }
    assert_complaints(&first(
        "      source:\n        pulsar: {serverAddr: a, topic: b, consumerName: c, subscriptionName: d, auth: {}} # => auth-empty spec.vertices[0].source.pulsar.auth",
    ));
    assert_complaints(&first(
        "      source:\n        file: {path: ''} # => empty spec.vertices[0].source.file.path",
    ));
    assert_complaints(&first("      source: {stdin: {}}"));
}

#[test]
fn map_functions_have_an_image_and_no_fallback() {
    assert_complaints(&middle("      udf: {} # => udf-container spec.vertices[1].udf.container"));
    assert_complaints(&middle(
        "      udf:
        container: {image: ''} # => udf-image spec.vertices[1].udf.container.image
        retryStrategy:
          onFailure: fallback # => udf-fallback spec.vertices[1].udf.retryStrategy.onFailure
          backoff:
            steps: 0 # => backoff-steps spec.vertices[1].udf.retryStrategy.backoff.steps
            factor: 0.5 # => backoff-factor spec.vertices[1].udf.retryStrategy.backoff.factor
            interval: 10s
            cap: 5s # => backoff-cap spec.vertices[1].udf.retryStrategy.backoff.cap
            jitter: 1 # => backoff-jitter spec.vertices[1].udf.retryStrategy.backoff.jitter",
    ));
    assert_complaints(&middle(
        "      udf:
        container: {image: x}
        retryStrategy:
          onFailure: Drop # => on-failure-unknown spec.vertices[1].udf.retryStrategy.onFailure
          backoff: {cap: 500us, jitter: -0.1} # => backoff-cap spec.vertices[1].udf.retryStrategy.backoff.cap; backoff-jitter spec.vertices[1].udf.retryStrategy.backoff.jitter",
    ));
}

#[test]
fn built_in_functions_are_gone() {
    let complaints = assert_complaints(&middle(
        "      udf: # => udf-container spec.vertices[1].udf.container
        builtin: {name: cat} # => unknown-field spec.vertices[1].udf.builtin",
    ));
    assert!(complaints.iter().any(|complaint| complaint.hint.contains("use `container`")));
}

#[test]
fn reduce_functions_are_complete() {
    assert_complaints(&middle(
        "      udf: # => reduce-container spec.vertices[1].udf.container
        groupBy: # => storage-missing spec.vertices[1].udf.groupBy.storage
          window: {} # => window-missing spec.vertices[1].udf.groupBy.window
        retryStrategy: {} # => reduce-retry spec.vertices[1].udf.retryStrategy",
    ));
    assert_complaints(&middle(
        "      udf:
        container: {} # => reduce-image spec.vertices[1].udf.container.image
        groupBy: # => required spec.vertices[1].udf.groupBy.window
          storage: {} # => storage-kind spec.vertices[1].udf.groupBy.storage",
    ));
    assert_complaints(&middle(
        "      udf:
        container: {image: x}
        groupBy:
          window:
            fixed: {} # => window-length spec.vertices[1].udf.groupBy.window.fixed.length
            sliding: {length: 0s} # => window-several spec.vertices[1].udf.groupBy.window.sliding; window-length spec.vertices[1].udf.groupBy.window.sliding.length; window-slide spec.vertices[1].udf.groupBy.window.sliding.slide
            session: {} # => window-several spec.vertices[1].udf.groupBy.window.session; window-timeout spec.vertices[1].udf.groupBy.window.session.timeout
            accumulator: {} # => window-several spec.vertices[1].udf.groupBy.window.accumulator; window-timeout spec.vertices[1].udf.groupBy.window.accumulator.timeout
          storage: {emptyDir: {}, no_store: {}} # => storage-kind spec.vertices[1].udf.groupBy.storage",
    ));
    for window in [
        "fixed: {length: 1m}",
        "sliding: {length: 1m, slide: 5s}",
        "session: {timeout: 1m}",
        "accumulator: {timeout: 1m}",
    ] {
        assert_complaints(&middle(&format!(
            "      udf: {{container: {{image: x}}, groupBy: {{window: {{{window}}}, storage: {{persistentVolumeClaim: {{}}}}}}}}"
        )));
    }
}

#[test]
fn a_sink_says_what_it_writes_to() {
    assert_complaints(&last("      sink: {} # => sink-missing spec.vertices[1].sink"));
    assert_complaints(&last(
        "      sink: # => sink-missing spec.vertices[1].sink
        log: # => null-object spec.vertices[1].sink.log",
    ));
    assert_complaints(&last(
        "      sink:
        log: {}
        blackhole: {} # => sink-several spec.vertices[1].sink.blackhole",
    ));
    assert_complaints(&last(
        "      sink:
        udsink:
          container: {} # => udsink-image spec.vertices[1].sink.udsink.container.image",
    ));
    assert_complaints(&last("      sink: {udsink: {container: {command: [cat]}}}"));
    assert_complaints(&last(
        "      sink:\n        udsink: {} # => required spec.vertices[1].sink.udsink.container",
    ));
    assert_complaints(&last(
        "      sink:
        kafka: {topic: t} # => kafka-brokers spec.vertices[1].sink.kafka.brokers",
    ));
    assert_complaints(&last(
        "      sink:
        sqs: {awsRegion: a, queueName: b, queueOwnerAWSAccountID: x} # => sqs-account spec.vertices[1].sink.sqs.queueOwnerAWSAccountID",
    ));
    assert_complaints(&last(
        "      sink:
        pulsar: {serverAddr: a, topic: b, producerName: ''} # => empty spec.vertices[1].sink.pulsar.producerName",
    ));
    assert_complaints(&last("      sink: {stdout: {}}"));
    assert_complaints(&last("      sink:\n        file: {} # => required spec.vertices[1].sink.file.path"));
}

#[test]
fn falling_back_needs_somewhere_to_fall() {
    let sink = |rest: &str| {
        last(&format!("      sink:\n        log: {{}}\n        retryStrategy: {{onFailure: fallback}}{rest}"))
    };
    let missing = "# => fallback-missing spec.vertices[1].sink.fallback";
    assert_complaints(&sink("").replace("      sink:\n", &format!("      sink: {missing}\n")));
    for fallback in ["{}", "{serve: {}}"] {
        let with_front = |text: String| {
            text.replace(
                "  name: p\n",
                "  name: p\n  labels: {numaflow.numaproj.io/serving-pipeline-name: s}\n",
            )
        };
        assert_complaints(&with_front(sink(&format!("\n        fallback: {fallback} {missing}"))));
    }
    for fallback in [
        "log: {}",
        "blackhole: {}",
        "udsink: {container: {image: x}}",
        "kafka: {brokers: [a], topic: t}",
        "sqs: {awsRegion: a, queueName: b, queueOwnerAWSAccountID: '123456789012'}",
        "pulsar: {serverAddr: a, topic: b, producerName: c}",
        "file: {path: dead.txt}",
    ] {
        assert_complaints(&sink(&format!("\n        fallback: {{{fallback}}}")));
    }
    assert_complaints(&last(
        "      sink:\n        log: {}\n        fallback: {} # => sink-missing spec.vertices[1].sink.fallback\n        onSuccess: {} # => sink-missing spec.vertices[1].sink.onSuccess",
    ));
}

#[test]
fn redelivery_falls_back_only_to_what_exists() {
    assert_complaints(&last(
        "      sink: {log: {}, fallback: {log: {}}}\n      redelivery: {maxDeliveries: 3, onExhausted: fallback, holdWatermark: 10s}",
    ));
    assert_complaints(&middle(
        "      udf: {container: {image: x}}
      redelivery:
        maxDeliveries: 0 # => range spec.vertices[1].redelivery.maxDeliveries
        onExhausted: fallback # => redelivery-fallback spec.vertices[1].redelivery.onExhausted",
    ));
}

#[test]
fn mounts_have_volumes() {
    assert_complaints(&middle(
        "      udf:
        container:
          image: x
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: dtaa, mountPath: /dtaa} # => volume-unknown spec.vertices[1].udf.container.volumeMounts[1].name
      volumes: [{name: data, emptyDir: {}}]",
    ));
}

//! The metrics of a site: the counters of all workers of all objects under one set of families, and figures of the plans.
//! Invariant: each family appears once, whatever the number of objects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::View;

/// What ends a text in this format.
const END: &str = "# EOF\n";

type Labels = Vec<(&'static str, String)>;

/// OpenMetrics text for everything.
pub(crate) fn metrics(views: &[Arc<View>]) -> String {
    let mut families = Families::default();
    for view in views {
        families.add(&view.metrics);
    }
    families.add(&figures(views));
    families.to_text()
}

/// The figures of plans.
fn figures(views: &[Arc<View>]) -> String {
    let mut registry = Registry::default();
    let mut family = |name: &str, help: &str| {
        let family = Family::<Labels, Gauge>::default();
        registry.register(name, help, family.clone());
        family
    };
    let phase = family(
        "pipeline_desired_phase_observed",
        "0 unknown, 1 running, 2 paused, 3 failed, 4 pausing, 5 deleting",
    );
    let stuck = family("tidegate_pipeline_stuck", "1 while a vertex has work that does not go on");
    let left = family("tidegate_pipeline_drain_remaining", "Messages left to drain in a partition");
    let estimate =
        family("tidegate_pipeline_drain_estimate_seconds", "How long the drain takes at its present pace");
    let drained =
        family("tidegate_pipeline_drained", "1 when a pause found everything drained, 0 while it has not");
    let given_up =
        family("tidegate_rollout_rolled_back", "1 while the wanted version of a vertex is given up");
    for view in views {
        let pipeline = || ("pipeline", view.object.name.clone());
        let numbers = &view.numbers;
        phase.get_or_create(&vec![pipeline()]).set(i64::from(numbers.phase));
        for (vertex, is_stuck) in &numbers.stuck {
            stuck.get_or_create(&vec![pipeline(), ("vertex", vertex.clone())]).set(i64::from(*is_stuck));
        }
        for (vertex, is_given_up) in &view.given_up {
            let labels = vec![pipeline(), ("vertex", vertex.clone())];
            given_up.get_or_create(&labels).set(i64::from(*is_given_up));
        }
        for place in &numbers.drain_left {
            let partition = ("partition", place.partition.to_string());
            let labels = vec![pipeline(), ("vertex", place.vertex.clone()), partition];
            left.get_or_create(&labels).set(i64::try_from(place.messages).unwrap_or(i64::MAX));
        }
        if let Some(duration) = numbers.drain_estimate {
            let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
            estimate.get_or_create(&vec![pipeline()]).set(seconds);
        }
        if let Some(is_drained) = numbers.drained {
            drained.get_or_create(&vec![pipeline()]).set(i64::from(is_drained));
        }
    }
    let mut figures = String::new();
    text::encode(&mut figures, &registry).expect("writing to a string cannot fail");
    figures
}

/// Families with what describes them and their samples.
#[derive(Default)]
struct Families {
    families: BTreeMap<String, (Vec<String>, Vec<String>)>,
}

impl Families {
    fn add(&mut self, text: &str) {
        let mut current = String::new();
        for line in text.lines().filter(|line| *line != END.trim_end()) {
            match line.strip_prefix("# ") {
                Some(described) => {
                    described.split(' ').nth(1).unwrap_or_default().clone_into(&mut current);
                    let (descriptions, _) = self.families.entry(current.clone()).or_default();
                    if !descriptions.iter().any(|known| known == line) {
                        descriptions.push(line.to_owned());
                    }
                }
                None => self.families.entry(current.clone()).or_default().1.push(line.to_owned()),
            }
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (descriptions, samples) in self.families.values().filter(|(_, samples)| !samples.is_empty()) {
            for line in descriptions.iter().chain(samples) {
                writeln!(text, "{line}").expect("writing to a string cannot fail");
            }
        }
        text + END
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use plan::seen::Left;
    use plan::status::Numbers;

    use super::*;

    /// Of a pause that is not drained after a rollout that went back.
    fn view() -> View {
        let mut view = View {
            numbers: Numbers {
                phase: 4,
                stuck: BTreeMap::from([("cat".to_owned(), true), ("out".to_owned(), false)]),
                drain_left: vec![Left { vertex: "cat".to_owned(), partition: 1, messages: 243 }],
                drain_estimate: Some(Duration::from_secs(12)),
                drained: Some(false),
            },
            given_up: BTreeMap::from([("cat".to_owned(), true), ("out".to_owned(), false)]),
            ..View::default()
        };
        view.object.name = "flow".to_owned();
        view
    }

    #[test]
    fn the_figures_of_a_plan_say_which_object_and_vertex_they_are_of() {
        let text = metrics(&[Arc::new(view())]);
        for line in [
            "pipeline_desired_phase_observed{pipeline=\"flow\"} 4",
            "tidegate_pipeline_stuck{pipeline=\"flow\",vertex=\"cat\"} 1",
            "tidegate_pipeline_stuck{pipeline=\"flow\",vertex=\"out\"} 0",
            "tidegate_pipeline_drain_remaining{pipeline=\"flow\",vertex=\"cat\",partition=\"1\"} 243",
            "tidegate_pipeline_drain_estimate_seconds{pipeline=\"flow\"} 12",
            "tidegate_pipeline_drained{pipeline=\"flow\"} 0",
            "tidegate_rollout_rolled_back{pipeline=\"flow\",vertex=\"cat\"} 1",
            "tidegate_rollout_rolled_back{pipeline=\"flow\",vertex=\"out\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    /// Names in a rule file that can only be metrics: what precedes a selector or a comparison.
    fn names_in_rules(rules: &str) -> BTreeSet<String> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let lines = rules.lines().filter(|line| line.contains("expr:") || line.contains("query"));
        let words = lines.flat_map(|line| line.split(|letter| !is_part(letter)));
        words.filter(|word| word.contains('_')).map(str::to_owned).collect()
    }

    #[test]
    fn every_metric_of_the_alert_rules_is_one_that_is_shown() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/alerts/tidegate.rules.yaml");
        let rules = fs::read_to_string(file).unwrap();
        let text = metrics(&[Arc::new(view())]);
        let named = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
        let shown: BTreeSet<String> =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(named).collect();
        let used = names_in_rules(&rules);
        assert!(used.contains("tidegate_pipeline_stuck"), "{used:?}");
        let unknown: Vec<_> = used.difference(&shown).collect();
        assert!(unknown.is_empty(), "the rules use {unknown:?}; what is shown is {shown:?}");
    }

    #[test]
    fn each_family_appears_once() {
        let mut families = Families::default();
        for object in ["a", "b"] {
            let text =
                format!("# HELP x How many.\n# TYPE x counter\nx_total{{pipeline=\"{object}\"}} 1\n# EOF\n");
            families.add(&text);
        }
        let expected = "# HELP x How many.\n# TYPE x counter\nx_total{pipeline=\"a\"} 1\nx_total{pipeline=\"b\"} 1\n# EOF\n";
        assert_eq!(families.to_text(), expected);
    }
}

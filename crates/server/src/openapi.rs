//! The description of the API in the OpenAPI format. Invariant: paths come from the list that the router is made of; the
//! shapes of values are in `openapi/schemas.json`, which tests hold against real answers.

use serde_json::{Map, Value, json};

use crate::routes;

/// The name of the answer that is plain text.
pub(crate) const TEXT: &str = "text";
/// The name of the answer that is any JSON value.
pub(crate) const ANY: &str = "any";

const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// Something that can be asked.
pub(crate) struct Operation {
    method: &'static str,
    pub(crate) path: &'static str,
    summary: &'static str,
    answer: &'static str,
    body: Option<&'static str>,
    query: &'static [Query],
}

/// A parameter of the query: its name, its type and what it means.
pub(crate) struct Query(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

impl Operation {
    pub(crate) fn new(
        method: &'static str,
        path: &'static str,
        summary: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { method, path, summary, answer, body: None, query: &[] }
    }

    /// It takes a body of this shape.
    pub(crate) fn taking(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    /// It takes these parameters in the query.
    pub(crate) fn with(self, query: &'static [Query]) -> Self {
        Self { query, ..self }
    }

    fn describe(&self) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        if self.path.contains("{name}") {
            parameters.push(json!({
                "name": "name", "in": "path", "required": true, "schema": {"type": "string"},
                "description": "The name of the object.",
            }));
        }
        parameters.extend(self.query.iter().map(|Query(name, kind, what)| {
            json!({"name": name, "in": "query", "schema": {"type": kind}, "description": what})
        }));
        let content = match self.answer {
            TEXT => json!({"text/plain": {"schema": {"type": "string"}}}),
            ANY => json!({"application/json": {"schema": {}}}),
            name => json!({"application/json": {"schema": reference(name)}}),
        };
        let failed = json!({"application/json": {"schema": reference("ErrorBody")}});
        let mut described = json!({
            "summary": self.summary,
            "parameters": parameters,
            "responses": {
                "2XX": {"description": "Done.", "content": content},
                "4XX": {"description": "The request cannot be granted.", "content": failed.clone()},
                "5XX": {"description": "The place failed.", "content": failed},
            },
        });
        if let Some(body) = self.body {
            described["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
        }
        described
    }
}

/// The whole description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for (operation, _) in routes::operations() {
        paths.entry(operation.path).or_insert_with(|| json!({}))[operation.method] = operation.describe();
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).expect("a file of this crate, parsed by its tests");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A place where pipelines run: what is in it, and what can be asked of it.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

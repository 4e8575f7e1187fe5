//! An axum service that calls another through one reqwest client, in the way that MODE names:
//! `single-…` on a tokio runtime with one thread, else with two workers.

use std::{env, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};

#[derive(Clone)]
struct Service {
    client: reqwest::Client,
    backend: String,
    way: String,
}

impl Service {
    /// Whether there was a response, of any status.
    async fn call(&self, path: &str) -> bool {
        let url = format!("{}{path}", self.place(path));
        let Ok(response) = self.client.get(url).send().await else { return false };
        response.bytes().await.is_ok()
    }

    /// The call of an ID that ends in c goes to an address where nobody listens.
    fn place(&self, path: &str) -> String {
        let id = path.split(['/', '.']).nth(2).unwrap_or_default();
        let Some(number) = id.strip_suffix('c').filter(|_| !path.ends_with(".2")) else {
            return self.backend.clone();
        };
        let number: u32 = number.parse().expect("an ID is a number");
        self.backend.replace("127.0.0.1", &format!("127.0.1.{}", number % 100))
    }
}

async fn answer(State(service): State<Service>, Path(id): Path<String>) -> &'static str {
    let path = format!("/out/{id}");
    match service.way.as_str() {
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(2)).await;
            service.call(&path).await;
        }
        "spawn" => {
            let service = service.clone();
            tokio::spawn(async move { service.call(&path).await }).await.expect("the task ends");
        }
        "fallback" => {
            if !service.call(&format!("{path}.1")).await {
                service.call(&format!("{path}.2")).await;
            }
        }
        "row" => {
            service.call(&format!("{path}.1")).await;
            service.call(&format!("{path}.2")).await;
        }
        "after" => drop(tokio::spawn(async move { service.call(&path).await })),
        _ => drop(service.call(&path).await),
    }
    "done\n"
}

/// Calls of a timer, besides those of requests.
async fn poll(service: Service) {
    for n in 1.. {
        service.call(&format!("/poll/{n}")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(way: &str) {
    let backend = format!("http://127.0.0.1:{}", env::var("BACKEND_PORT").expect("BACKEND_PORT is set"));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(150)).build().expect("the client needs nothing");
    let service = Service { client, backend, way: way.to_owned() };
    if way == "poller" {
        tokio::spawn(poll(service.clone()));
    }
    let router = Router::new().route("/in/{id}", get(answer)).with_state(service);
    let address = format!("127.0.0.1:{}", env::var("PORT").expect("PORT is set"));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free");
    axum::serve(listener, router).await.expect("it serves until it is killed");
}

fn main() {
    let mode = env::var("MODE").expect("MODE is set");
    let (mut builder, way) = match mode.strip_prefix("single-") {
        Some(way) => (tokio::runtime::Builder::new_current_thread(), way),
        None => (tokio::runtime::Builder::new_multi_thread(), mode.as_str()),
    };
    let runtime = builder.worker_threads(2).enable_all().build().expect("threads can be made");
    runtime.block_on(serve(way));
}

//! A Rust client that does what it is told. ../README.md has the commands and the lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder, ReconnectSettings};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What is sent with CONNECT, read again at every reconnect.
type Auth = Arc<Mutex<Value>>;

const ACK: Duration = Duration::from_secs(30);

/// Print one line; Rust's standard output is locked for its whole length.
fn say(line: Value) {
    println!("{line}");
}

/// The one argument of an event, an ack or an error.
fn body(payload: Payload) -> Value {
    match payload {
        Payload::Text(mut values) if !values.is_empty() => values.swap_remove(0),
        _ => Value::Null,
    }
}

/// Tell of a failure. The library gives a refused CONNECT as a sentence that ends with the packet's JSON.
fn failed(id: &str, text: &str) {
    let packet = text
        .find('{')
        .and_then(|start| serde_json::from_str::<Value>(&text[start..]).ok());
    let data = packet.map_or(Value::Null, |packet| packet["data"].clone());
    say(json!({"id": id, "is": "connect_error", "message": text, "data": data, "detail": ""}));
}

/// Connect. Without a server the library fails at the first try, and tries again only what was once connected.
async fn open(id: String, auth: Auth, command: &Value) -> Option<Client> {
    let names = command["namespaces"].as_array().expect("namespaces");
    let [namespace] = names.as_slice() else {
        say(json!({"id": id, "is": "unable", "reason": "one client has one namespace"}));
        return None;
    };
    let transport = match command["transports"] {
        Value::Null => TransportType::Any,
        _ => TransportType::Websocket,
    };
    let (connected, closed, error, any, again) = (id.clone(), id.clone(), id.clone(), id.clone(), id.clone());
    let first = auth.lock().unwrap().clone();
    let opened = ClientBuilder::new(command["url"].as_str().expect("url"))
        .namespace(namespace.as_str().expect("namespace"))
        .transport_type(transport)
        .reconnect_delay(200, 500)
        .auth(first)
        .on_reconnect(move || {
            say(json!({"id": again, "is": "disconnect", "reason": "reconnects"}));
            let mut settings = ReconnectSettings::new();
            settings.auth(auth.lock().unwrap().clone());
            async move { settings }.boxed()
        })
        .on(Event::Connect, move |_, _| {
            say(json!({"id": connected, "is": "connect"}));
            async {}.boxed()
        })
        .on(Event::Close, move |_, _| {
            say(json!({"id": closed, "is": "disconnect", "reason": "io server disconnect"}));
            async {}.boxed()
        })
        .on(Event::Error, move |payload, _| {
            let text = match body(payload) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            failed(&error, &text);
            async {}.boxed()
        })
        .on_any(move |event, payload, _| {
            say(json!({"id": any, "is": "event", "name": event.as_str(), "body": body(payload)}));
            async {}.boxed()
        })
        .connect()
        .await;
    opened.map_err(|error| failed(&id, &format!("{error:?}"))).ok()
}

/// Emit, with an ack if it has a tag.
async fn emit(client: &Client, command: &Value) {
    let name = command["name"].as_str().expect("name").to_owned();
    let payload = Payload::Text(command["args"].as_array().expect("args").clone());
    let (id, tag) = (command["id"].clone(), command["tag"].clone());
    let sent = if tag.is_null() {
        client.emit(name, payload).await
    } else {
        let answer = move |payload: Payload, _: Client| {
            // All arguments of an ack come as one list.
            let ack = match body(payload) {
                Value::Array(mut values) if !values.is_empty() => values.swap_remove(0),
                other => other,
            };
            say(json!({"id": id, "is": "ack", "tag": tag, "ack": ack}));
            async {}.boxed()
        };
        client.emit_with_ack(name, payload, ACK, answer).await
    };
    if let Err(error) = sent {
        failed(command["id"].as_str().expect("id"), &format!("{error:?}"));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut auths: HashMap<String, Auth> = HashMap::new();
    let mut orders: HashMap<String, Value> = HashMap::new();
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("a line") {
        let command: Value = serde_json::from_str(&line).expect("JSON");
        let id = command["id"].as_str().expect("id").to_owned();
        match command["do"].as_str().expect("do") {
            // The library can't connect an old client by hand: a new one takes its place.
            order @ ("open" | "connect") => {
                if order == "open" {
                    auths.insert(id.clone(), Arc::new(Mutex::new(command["auth"].clone())));
                    orders.insert(id.clone(), command);
                }
                if let Some(client) = open(id.clone(), auths[&id].clone(), &orders[&id]).await {
                    clients.insert(id, client);
                }
            }
            "auth" => *auths[&id].lock().unwrap() = command["auth"].clone(),
            "emit" => match clients.get(&id) {
                Some(client) => emit(client, &command).await,
                None => failed(&id, "not connected"),
            },
            "close" => {
                if let Some(client) = clients.get(&id) {
                    // Fails where the connection is gone already.
                    let _ = client.disconnect().await;
                }
            }
            other => failed(&id, &format!("the library has no {other}")),
        }
    }
    std::process::exit(0);
}

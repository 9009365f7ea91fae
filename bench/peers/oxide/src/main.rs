//! Socket.IO on socketioxide and axum, as its documentation shows it:  oxide-peer PORT PADDING_BYTES
//! WebSocket only, Maru's heartbeat, tokio's single-threaded runtime: one sender's events keep their order.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::{SocketIo, TransportType};
use tokio::net::TcpSocket;

#[derive(Deserialize)]
struct Channel {
    channel: String,
}

#[derive(Deserialize, Serialize)]
struct Message {
    channel: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Created<'a> {
    channel: &'a str,
    author: socketioxide::socket::Sid,
    message: &'a Message,
    pad: &'static str,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

const DONE: Done = Done { ok: true };

async fn serve(port: u16, pad: &'static str) -> std::io::Result<()> {
    let beat = Duration::from_secs(10);
    let (layer, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        .ping_interval(beat)
        .ping_timeout(beat)
        .connect_timeout(beat)
        .build_layer();
    io.ns("/chat", async move |socket: SocketRef| {
        socket.on("channel:join", async |socket: SocketRef, Data(Channel { channel }), ack: AckSender| {
            socket.join(channel);
            ack.send(&DONE).ok();
        });
        socket.on("channel:leave", async |socket: SocketRef, Data(Channel { channel }), ack: AckSender| {
            socket.leave(channel);
            ack.send(&DONE).ok();
        });
        socket.on("message:send", async move |socket: SocketRef, Data::<Message>(message), ack: AckSender| {
            let event = Created { channel: &message.channel, author: socket.id, message: &message, pad };
            if let Err(error) = socket.within(message.channel.clone()).emit("message:created", &event).await {
                eprintln!("{error}"); // a member's queue is full: it has lost this event, and is not told
            }
            ack.send(&DONE).ok();
        });
    });
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(4_096)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, axum::Router::new().layer(layer)).await
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let port = arguments[1].parse().expect("a port");
    let pad = "p".repeat(arguments[2].parse().expect("a number of bytes")).leak();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port, pad))
}

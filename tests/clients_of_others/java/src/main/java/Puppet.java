import io.socket.client.Ack;
import io.socket.client.Manager;
import io.socket.client.Socket;
import io.socket.engineio.client.EngineIOException;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** A Java client that does what it is told. ../README.md has the commands and the lines. */
public final class Puppet {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private final String id;

    /** The map that was given as `auth`, which the library reads at every connect. It asks for texts, and sends any JSON. */
    private final Map<String, Object> auth = new HashMap<>();

    /** One for each namespace; the last is the one that is watched. */
    private final List<Socket> sockets = new ArrayList<>();

    private Puppet(String id) {
        this.id = id;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Puppet> puppets = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JSONObject command = new JSONObject(line);
            puppets.computeIfAbsent(command.getString("id"), Puppet::new).act(command);
        }
        System.exit(0);
    }

    private void act(JSONObject command) throws JSONException {
        switch (command.getString("do")) {
            case "open" -> open(command);
            case "auth" -> authenticate(command);
            case "connect" -> last().connect();
            case "emit" -> emit(command);
            case "close" -> sockets.forEach(Socket::disconnect);
            default -> throw new IllegalArgumentException(command.toString());
        }
    }

    private Socket last() {
        return sockets.get(sockets.size() - 1);
    }

    private void authenticate(JSONObject command) throws JSONException {
        JSONObject fields = command.getJSONObject("auth");
        auth.clear();
        for (Iterator<?> names = fields.keys(); names.hasNext(); ) {
            String name = (String) names.next();
            auth.put(name, fields.get(name));
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private void open(JSONObject command) throws JSONException {
        authenticate(command);
        Manager.Options options = new Manager.Options();
        options.auth = (Map) auth;
        options.reconnectionDelay = 200;
        options.reconnectionDelayMax = 500;
        if (!command.isNull("transports")) {
            options.transports = new String[] {"websocket"};
        }
        Manager manager = new Manager(URI.create(command.getString("url")), options);
        JSONArray namespaces = command.getJSONArray("namespaces");
        for (int index = 0; index < namespaces.length(); index++) {
            sockets.add(manager.socket(namespaces.getString(index), options));
        }
        listen(last());
        sockets.forEach(Socket::connect);
    }

    private void listen(Socket socket) {
        socket.on(Socket.EVENT_CONNECT, none -> say("connect"));
        socket.on(Socket.EVENT_DISCONNECT, reason -> say("disconnect", "reason", reason[0]));
        socket.on(Socket.EVENT_CONNECT_ERROR, error -> failed(error[0]));
        socket.onAnyIncoming(event -> say("event", "name", event[0], "body", event[1]));
    }

    /** Tell of a refused CONNECT, which comes as the packet's JSON, or of anything else, which is an exception. */
    private void failed(Object error) {
        String message = error.toString();
        Object data = JSONObject.NULL;
        String detail = "";
        if (error instanceof JSONObject refused) {
            message = refused.optString("message");
            data = refused.opt("data");
        } else if (error instanceof EngineIOException broken && broken.getCause() != null) {
            detail = broken.getCause().toString();
        }
        say("connect_error", "message", message, "data", data, "detail", detail);
    }

    private void emit(JSONObject command) throws JSONException {
        JSONArray given = command.getJSONArray("args");
        Object[] arguments = new Object[given.length()];
        for (int index = 0; index < arguments.length; index++) {
            arguments[index] = given.get(index);
        }
        String name = command.getString("name");
        if (command.isNull("tag")) {
            last().emit(name, arguments);
            return;
        }
        int tag = command.getInt("tag");
        last().emit(name, arguments, (Ack) answer -> say("ack", "tag", tag, "ack", answer[0]));
    }

    private void say(String is, Object... fields) {
        try {
            JSONObject line = new JSONObject().put("id", id).put("is", is);
            for (int index = 0; index < fields.length; index += 2) {
                line.put((String) fields[index], fields[index + 1]);
            }
            OUT.println(line);
        } catch (JSONException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}

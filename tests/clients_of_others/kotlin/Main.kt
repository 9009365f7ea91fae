import java.io.File
import org.json.JSONObject

/**
 * The recipe of PROTOCOL.md, driven by lines: `{do: "join", channel}`, `{do: "send", channel, text}`. It prints each event
 * that it is given. Arguments: the server's URL, and a file that holds the token of the moment.
 */
fun main(arguments: Array<String>) {
    val (url, token) = arguments
    val chat = Chat(url, { File(token).readText() }, { println(it); System.out.flush() })
    for (line in generateSequence(::readLine)) {
        val order = JSONObject(line)
        if (order.getString("do") == "join") chat.join(order.getString("channel"))
        else chat.send(order.getString("channel"), order.getString("text"))
    }
    System.exit(0)
}

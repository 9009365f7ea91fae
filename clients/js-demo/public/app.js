/** The entry of the page: asks for a name unless the tab has one, and starts the chat. */

import { Chat } from "./chat.js";
import { askName, knownUser, remember } from "./sign_in.js";

const user = knownUser() || (await askName());
remember(user);
new Chat(user).start();

<?php
// A page that calls another service by curl, on a connection of its own: PHP keeps none from one request to the next.
$number = explode('/', $_SERVER['REQUEST_URI'])[2];
$curl = curl_init('http://127.0.0.1:' . getenv('BACKEND_PORT') . "/out/$number");
curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
curl_exec($curl);
header('Content-Type: text/plain');
header('Content-Length: 5');
echo "done\n";

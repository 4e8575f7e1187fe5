//! Command lines as they are found on hosts. Arguments are separated by `|`.

use super::*;

/// A directory with files, and an environment.
struct Fake {
    directory: &'static str,
    files: &'static [(&'static str, &'static str)],
    variables: &'static [(&'static str, &'static str)],
}

impl Place for Fake {
    fn directory(&self) -> Option<String> {
        Some(self.directory.to_owned())
    }

    fn file(&self, path: &str) -> Option<String> {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{}", self.directory, path.trim_start_matches("./"))
        };
        self.files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }
}

const CART: Fake = Fake {
    directory: "/srv/cart",
    files: &[
        ("/srv/cart/package.json", r#"{"name":"@acme/basket","version":"1.0.0"}"#),
        ("/srv/plain/package.json", r#"{"version":"1.0.0"}"#),
        ("/opt/java.args", "# options\n-Xmx1g \"-Dx=a b\"\n-cp /srv/lib/*\n  com.acme.Shipping"),
        ("/srv/cart/jar.args", "-jar '/srv/my jars/stock-3.1.0.jar'"),
    ],
    variables: &[],
};

const SHOP: Fake = Fake { directory: "/srv/shop/current", files: &[], variables: &[] };

fn check(place: &dyn Place, cases: &[(&str, &str, &str)]) {
    for (executable, command, expected) in cases {
        let arguments: Vec<String> = command.split('|').map(str::to_owned).collect();
        assert_eq!(from_program(executable, &arguments, place), *expected, "{command}");
    }
}

#[test]
fn java_programs() {
    let java = "/usr/lib/jvm/java-17/bin/java";
    check(
        &CART,
        &[
            (java, "java|-jar|/srv/orders-1.2.3-SNAPSHOT.jar", "orders"),
            (java, "java|-jar|orders-service-2.0.0.RELEASE-exec.jar|--server.port=1", "orders-service"),
            (java, "java|-jar|orders_v2.jar", "orders"),
            (java, "java|-jar|orders-1.0-20240131.101112-3-jar-with-dependencies.jar", "orders"),
            (java, "java|-jar|orders-9f8e7d6c5b.jar", "orders"),
            (java, "java|-jar|s3-4-proxy.jar", "s3-4-proxy"),
            (java, "java|-jar|/app/app.jar", "app"),
            (java, "java|-Dspring.application.name=billing|-jar|app.jar", "billing"),
            (java, "java|-cp|a.jar:b.jar|Main", "Main"),
            (java, "java|-classpath|x|com.acme.orders.Main|-m|x", "orders"),
            (java, "java|--class-path=x|com.acme.OrdersApplication", "OrdersApplication"),
            (java, "java|--module-path|mods|--module|com.acme.shop/com.acme.shop.Server", "Server"),
            (java, "java|-p|mods|--module=shop/com.acme.Main", "shop"),
            (java, "java|-p|mods|-m|com.acme.shop", "shop"),
            (java, "java|-cp|x|org.apache.catalina.startup.Bootstrap|start", "tomcat"),
            (java, "java|@/opt/java.args|--port|80", "Shipping"),
            (java, "java|@jar.args", "stock"),
            (java, "java|@missing|com.acme.Billing", "Billing"),
            (java, "java|Hello.java", "Hello"),
            (java, "java|-version", "java"),
        ],
    );
}

#[test]
fn node_programs() {
    let node = "/usr/bin/node";
    check(
        &CART,
        &[
            (node, "node|.", "basket"),
            (node, "node|./", "basket"),
            (node, "node|/srv/cart", "basket"),
            (node, "node|index.js", "basket"),
            (node, "node|/srv/cart/dist/main.js", "basket"),
            (node, "node|/srv/plain/dist/index.js", "plain"),
            (node, "node|server.js", "server"),
            (node, "npm start", "basket"),
            (node, "npm run dev --port 3", "basket"),
            (node, "node|/usr/bin/npm|start", "basket"),
            (node, "node|/usr/lib/node_modules/npm/bin/npm-cli.js|run|start", "basket"),
            (node, "node|/usr/bin/yarn|start", "basket"),
            (node, "node|/usr/bin/npx|--yes|serve@14|dist", "serve"),
            (node, "npm exec cowsay", "cowsay"),
            (node, "node|node_modules/.bin/nodemon|api.js", "api"),
            (node, "node|node_modules/.bin/next|start", "next"),
            (node, "node", "node"),
        ],
    );
    check(&SHOP, &[(node, "node|.", "shop"), (node, "npm start", "shop")]);
    check(&Nowhere, &[(node, "node|.", "node"), (node, "npm start", "npm")]);
}

#[test]
fn python_programs() {
    let python = "/usr/bin/python3.11";
    check(
        &SHOP,
        &[
            (python, "gunicorn: master [billing:app]", "billing"),
            (python, "gunicorn: worker [billing.wsgi:application]", "billing"),
            (
                python,
                "/usr/bin/python3|/usr/bin/gunicorn|-w|4|-b|localhost:8000|billing.wsgi:application",
                "billing",
            ),
            (python, "/usr/bin/python3|/usr/bin/gunicorn|--name|web|billing:app", "web"),
            (python, "/usr/bin/python3|/usr/bin/gunicorn|billing.wsgi", "billing"),
            (python, "/usr/bin/python3|-m|gunicorn|billing:create_app()", "billing"),
            (python, "python3|-m|uvicorn|main:app|--host|0.0.0.0", "shop"),
            (python, "python3|/usr/bin/uvicorn|orders.main:app", "orders"),
            (python, "python3|-m|http.server", "http.server"),
            (python, "python3|-m|acme.worker", "acme.worker"),
            (python, "python3|manage.py|runserver", "shop"),
            (python, "python3|/srv/erp/manage.py|runserver", "erp"),
            (python, "python3|/usr/bin/flask|--app|catalog|run", "catalog"),
            (python, "python3|/usr/bin/celery|-A|proj|worker", "proj"),
            (python, "python3|-m|celery|--app=proj.celery_app|worker", "celery_app"),
            (python, "[celeryd: celery@host:MainProcess] -active- (-A proj worker)", "proj"),
            ("/usr/bin/uwsgi", "uwsgi|--http|:80|--module|billing.wsgi:application", "billing"),
            ("/usr/bin/uwsgi", "uwsgi|--ini|/etc/uwsgi/apps-enabled/stock.ini", "stock"),
            ("/usr/bin/uwsgi", "uwsgi|--wsgi-file=/srv/stock/wsgi.py", "stock"),
            ("/usr/bin/uwsgi", "uwsgi", "uwsgi"),
        ],
    );
}

#[test]
fn other_programs() {
    let (ruby, perl) = ("/usr/bin/ruby3.1", "/usr/bin/perl");
    check(
        &SHOP,
        &[
            ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "www"),
            ("/usr/sbin/php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", "php-fpm"),
            (ruby, "puma 6.0.2 (tcp://0.0.0.0:3000) [store]", "store"),
            (ruby, "puma: cluster worker 1: 812 [store]", "store"),
            (ruby, "ruby|/usr/bin/puma|-C|config/puma.rb", "shop"),
            (ruby, "ruby|bin/rails|server", "shop"),
            (ruby, "sidekiq 7.1.2 store [0 of 5 busy]", "store"),
            (ruby, "Passenger RubyApp: /srv/forum (production)", "forum"),
            (perl, "perl|/usr/bin/starman|--listen|:5000|/srv/forum/app.psgi", "forum"),
            (perl, "perl|/usr/bin/plackup|wiki.psgi", "wiki"),
            (perl, "perl|-T|/opt/bin/report.pl", "report"),
            ("/usr/bin/dotnet", "dotnet|/app/Shop.Api.dll|--urls|http://*:80", "Shop.Api"),
            ("/usr/bin/dotnet", "dotnet|exec|--depsfile|a.json|Shop.Api.dll", "Shop.Api"),
            ("/usr/bin/dotnet", "dotnet|run|--project|src/Shop/Shop.csproj", "Shop"),
            ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
            ("/usr/sbin/sshd", "sshd: joe [priv]", "sshd"),
        ],
    );
}

#[test]
fn erlang_releases() {
    let beam = "/opt/shop/erts-13.1/bin/beam.smp";
    let release = Fake { variables: &[("RELEASE_NAME", "storefront")], ..SHOP };
    let elixir = "beam.smp|--|-root|/app|-progname|erl|--|-home|/root|--|-noshell|-s|elixir|start_cli";
    check(&release, &[(beam, elixir, "storefront")]);
    check(
        &SHOP,
        &[
            (
                beam,
                "beam.smp|--|-progname|/opt/shop/bin/orders|--|-boot|/opt/shop/releases/1.2/start",
                "orders",
            ),
            (beam, "beam.smp|--|-progname|erl|--|-boot|/opt/shop/releases/1.2/orders", "orders"),
            (beam, "beam.smp|--|-progname|erl|-sname|rabbit@host|-boot|start_sasl", "rabbit"),
            (beam, "beam.smp|--|-progname|erl|-boot|/opt/stock/releases/0.1.0/start", "stock"),
            (beam, "beam.smp|--|-progname|erl|-s|crawler|-noshell", "crawler"),
            (beam, "beam.smp|--|-progname|erl|-s|elixir|start_cli|-extra|/usr/bin/mix|phx.server", "shop"),
            (beam, "beam.smp|--|-progname|erl", "beam.smp"),
        ],
    );
}

#[test]
fn units() {
    let id = "3f4cdbc5e1e1a5a8c1f0b9d0a3de7e1b6b2c9ad4b1ab0e2b1f7b9f6c8e5d4c3b";
    for (path, expected) in [
        ("/system.slice/nginx.service", Some("nginx")),
        ("/system.slice/system-postgresql.slice/postgresql@14-main.service", Some("postgresql@14-main")),
        ("/shop.slice/orders.service/worker/3", Some("orders")),
        (r"/system.slice/my\x2dapp.service", Some("my-app")),
        (r"/system.slice/odd\xzz.service", Some(r"odd\xzz")),
        ("/user.slice/user-1000.slice/session-3.scope", None),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.service", None),
        ("/init.scope", None),
        ("/system.slice", None),
        ("/system.slice/.service", None),
        ("/", None),
        (&format!("/system.slice/docker-{id}.scope"), None),
        (&format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"), None),
    ] {
        let cgroups = Cgroups::parse(&format!("0::{path}\n"));
        assert_eq!(from_unit(&cgroups).as_deref(), expected, "{path}");
    }
}

#[test]
fn programs() {
    for (executable, command, expected) in [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/opt/bin/orders-api", "orders-api --port 80", "orders-api"),
        ("/usr/bin/python3.11", "python3 app.py", "app"),
        ("/usr/bin/python3.11", "python3 -u -W ignore /srv/shop/billing.py --x", "billing"),
        ("/usr/bin/python3.11", "python3 -m http.server 8000", "http.server"),
        ("/usr/bin/python3.11", "python3 -c print(1)", "python3.11"),
        ("/usr/bin/python3.11", "python3", "python3.11"),
        ("/usr/bin/python3.11", "/usr/bin/python3 /usr/local/bin/gunicorn shop:app", "shop"),
        ("/usr/bin/node", "node server.js", "server"),
        ("/usr/bin/node", "node --max-old-space-size=100 -r dotenv/config /srv/cart/index.js", "cart"),
        ("/usr/bin/node", "node index.js", "index"),
        ("/usr/bin/node", "node ./main.js", "main"),
        ("/usr/bin/node", "node -e 1", "node"),
        ("/usr/bin/deno", "deno run --allow-net api.ts", "api"),
        ("/usr/lib/jvm/java-17/bin/java", "java -Xmx1g -jar /srv/orders.jar --x", "orders"),
        ("/usr/lib/jvm/java-17/bin/java", "java -cp a.jar:b.jar com.acme.Billing x", "Billing"),
        ("/usr/lib/jvm/java-17/bin/java", "java -p mods -m shop/com.acme.Main", "shop"),
        ("/usr/bin/ruby3.1", "ruby -I lib bin/puma.rb", "puma"),
        ("/usr/bin/php8.2", "php -d a=b worker.php", "worker"),
        ("/usr/bin/php8.2", "php -S 127.0.0.1:80", "php8.2"),
        ("/usr/sbin/php-fpm8.2", "php-fpm --nodaemonize", "php-fpm8.2"),
        ("/usr/bin/perl", "perl -w job.pl", "job"),
        ("/usr/bin/bash", "bash -e /opt/run.sh", "run"),
        ("/usr/bin/bash", "bash -c exec sleep", "bash"),
        ("/usr/bin/dotnet", "dotnet /app/Shop.Api.dll", "Shop.Api"),
        ("", "", "unknown_service"),
    ] {
        let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(from_program(executable, &arguments, &Nowhere), expected, "{command}");
    }
}

#[test]
fn a_name_is_bounded() {
    assert_eq!(from_program(&"é".repeat(400), &[], &Nowhere).len(), MAX_NAME - 1);
}
